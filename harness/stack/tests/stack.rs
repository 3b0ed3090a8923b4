//! A small stack in real containers: every handle does what it says, and nothing is left behind.

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firedrill_stack::{
    ContainerEvent, Engine, Images, LogSource, Stack, StackError, Swept, UpError, UpOptions,
    images, sweep, sweep_run,
};
use futures_util::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Outcome = Result<(), Box<dyn Error>>;

const SOON: Duration = Duration::from_secs(20);

fn options(run: &str) -> UpOptions {
    UpOptions {
        run_id: format!("test-{run}-{}", std::process::id()),
        secrets: BTreeMap::from([("TOKEN".to_string(), "hush".to_string())]),
        ..UpOptions::default()
    }
}

async fn get(stack: &Stack, service: &str, path: &str) -> Result<String, Box<dyn Error>> {
    let at = stack.addr(service, "main")?;
    let mut stream = TcpStream::connect(at)
        .await
        .map_err(|error| format!("{service} at {at}, asked for {path}: {error}"))?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await??;
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_string());
    body.ok_or_else(|| "no body".into())
}

/// Nanoseconds since the epoch.
fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX)
}

async fn event(
    events: &mut (impl Stream<Item = Result<ContainerEvent, StackError>> + Unpin),
    action: &str,
) -> Result<ContainerEvent, Box<dyn Error>> {
    loop {
        let next = tokio::time::timeout(SOON, events.next()).await?;
        let event = next.ok_or("the events ended")??;
        if event.action == action {
            return Ok(event);
        }
    }
}

async fn provide(
    engine: &Engine,
    target: &firedrill_plan::Target,
) -> Result<Images, Box<dyn Error>> {
    Ok(images::provision(engine, target, &common::helper()?, &mut |_| {}).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn services_come_up_and_know_each_other() -> Outcome {
    let engine = Engine::connect().await?;
    let target = common::target(vec![
        common::redis(),
        common::postgres(),
        common::app("webhook"),
        common::app("worker"),
    ]);
    let found = provide(&engine, &target).await?;
    let subject = found.executable.as_ref().ok_or("no subject")?;
    assert_eq!(subject.digest, images::digest_of(&common::helper()?)?);
    let mut wanted = options("names");
    wanted.defect = Some("lies".into());
    wanted.replicas.insert("webhook".into(), 2);
    let own = BTreeMap::from([("ONLY".to_string(), "second".to_string())]);
    wanted.env.insert("webhook-2".into(), own);
    let stack = Stack::up(&engine, &found, &target, wanted).await?;

    let services = ["redis", "postgres", "webhook", "webhook-2", "worker"];
    assert_eq!(stack.services(), services);
    assert_eq!(stack.instances("webhook"), ["webhook", "webhook-2"]);
    for name in services {
        assert_eq!(
            get(&stack, "worker", &format!("/resolve/{name}")).await?,
            "true",
            "{name}"
        );
    }
    assert_eq!(get(&stack, "worker", "/resolve/nobody").await?, "false");
    let env = get(&stack, "webhook-2", "/").await?;
    let run = format!("RUN={}\n", stack.run_id());
    for line in [
        "SHARED=yes\n",
        "TOKEN=hush\n",
        "DEFECT=lies\n",
        "ONLY=second\n",
        &run,
    ] {
        assert!(env.contains(line), "{line} in {env}");
    }
    assert!(!get(&stack, "webhook", "/").await?.contains("ONLY="));
    assert!(!get(&stack, "worker", "/").await?.contains("DEFECT="));
    assert_schema(&stack).await?;

    // A live run of ours is no leftover.
    sweep(&engine).await?;
    assert!(stack.inspect("redis").await?.running);
    stack.down().await?;
    stack.down().await?;
    let left = sweep_run(&engine, stack.run_id()).await?;
    assert_eq!(left, Swept::default());
    Ok(())
}

async fn assert_schema(stack: &Stack) -> Outcome {
    let at = stack.addr("postgres", "main")?;
    let url = |password| format!("postgres://vanta:{password}@{at}/vanta");
    let refused = tokio_postgres::connect(&url("wrong"), tokio_postgres::NoTls).await;
    assert!(refused.is_err(), "a wrong password must not do");
    let (client, connection) =
        tokio_postgres::connect(&url("vanta"), tokio_postgres::NoTls).await?;
    let asked = async {
        let row = client.query_one("SELECT note FROM drill", &[]).await;
        drop(client);
        row
    };
    let (row, ended) = tokio::join!(asked, connection);
    ended?;
    assert_eq!(row?.get::<_, String>(0), "it's there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_made_anew_has_another_environment_and_goes_with_the_stack() -> Outcome {
    let engine = Engine::connect().await?;
    let target = common::target(vec![common::redis(), common::app("webhook")]);
    let found = provide(&engine, &target).await?;
    let stack = Stack::up(&engine, &found, &target, options("anew")).await?;
    let (before, at) = (
        stack.container_id("webhook")?,
        stack.addr("webhook", "main")?,
    );
    assert_eq!(stack.ended_life("webhook", &before).await?, None);
    stack.stop("webhook", Duration::from_secs(1)).await?;
    assert!(stack.ended_life("webhook", &before).await?.is_some());
    let env = BTreeMap::from([("SHARED".to_string(), "no".to_string())]);
    stack.recreate("webhook", &env).await?;
    stack.healthy("webhook", SOON).await?;
    assert_ne!(stack.container_id("webhook")?, before);
    assert!(
        stack.ended_life("webhook", &before).await.is_err(),
        "it is gone"
    );
    assert_eq!(stack.environment("webhook").await?["SHARED"], "no");
    let shown = get(&stack, "webhook", "/").await?;
    assert!(shown.contains("SHARED=no\n") && shown.contains("TOKEN=hush\n"));
    assert_eq!(get(&stack, "webhook", "/resolve/redis").await?, "true");
    let mut logs = stack.logs("webhook", 0)?;
    let line = tokio::time::timeout(SOON, logs.next())
        .await?
        .ok_or("no log")??;
    assert_eq!(line.text, "listening on 8090");

    // The next one starts from the environment of bring-up again.
    stack.recreate("webhook", &BTreeMap::new()).await?;
    stack.healthy("webhook", SOON).await?;
    assert!(get(&stack, "webhook", "/").await?.contains("SHARED=yes\n"));
    assert!(
        stack.inspect("redis").await?.running,
        "{at} was the webhook's"
    );
    stack.down().await?;
    assert_eq!(sweep_run(&engine, stack.run_id()).await?, Swept::default());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_inside_is_bounded() -> Outcome {
    let engine = Engine::connect().await?;
    let target = common::target(vec![common::postgres()]);
    let found = provide(&engine, &target).await?;
    let stack = Stack::up(&engine, &found, &target, options("exec")).await?;
    let shell = |text: &str| ["sh", "-c", text].map(str::to_string);
    let ran = stack
        .exec("postgres", &shell("echo out; echo err >&2; exit 3"), SOON)
        .await?;
    assert_eq!(ran.exit_code, 3);
    assert!(ran.output.contains("out\n") && ran.output.contains("err\n"));
    let much = "i=0; while [ $i -lt 3000 ]; do echo 0123456789; i=$((i+1)); done; echo last";
    let ran = stack.exec("postgres", &shell(much), SOON).await?;
    assert!(ran.output.len() <= 16 * 1024 && ran.output.ends_with("last\n"));
    let wait = "while true; do :; done";
    let late = stack
        .exec("postgres", &shell(wait), Duration::from_millis(200))
        .await;
    assert!(matches!(late, Err(StackError::NotOver { .. })), "{late:?}");
    let none = stack
        .exec("postgres", &["no-such-command".to_string()], SOON)
        .await;
    assert!(none.map_or(true, |ran| ran.exit_code != 0));
    stack.down().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_act_and_observe() -> Outcome {
    let engine = Engine::connect().await?;
    let target = common::target(vec![common::redis(), common::app("webhook")]);
    let found = provide(&engine, &target).await?;
    let stack = Stack::up(&engine, &found, &target, options("handles")).await?;
    let mut events = stack.events(now_ns());
    let mut logs = stack.logs("webhook", 0)?;
    let line = tokio::time::timeout(SOON, logs.next())
        .await?
        .ok_or("no log")??;
    assert_eq!((line.text.as_str(), line.cut), ("listening on 8090", false));
    assert_eq!((line.stream, line.ts.len()), (LogSource::Out, 30));

    assert_ne!(stack.is_frozen("redis").await?, Some(true));
    stack.pause("redis").await?;
    stack.pause("redis").await?;
    assert_eq!(event(&mut events, "pause").await?.service, "redis");
    assert_ne!(stack.is_frozen("redis").await?, Some(false));
    let state = stack.inspect("redis").await?;
    assert!(state.paused && state.running && state.pid > 0);
    assert!(
        stack
            .healthy("redis", Duration::from_millis(50))
            .await
            .is_err()
    );
    stack.unpause("redis").await?;
    stack.unpause("redis").await?;
    stack.healthy("redis", SOON).await?;

    stack.pause("redis").await?;
    stack.kill("redis", "SIGKILL").await?;
    let died = event(&mut events, "die").await?;
    assert_eq!(
        (died.service.as_str(), died.exit_code),
        ("redis", Some(137))
    );
    stack.kill("redis", "SIGKILL").await?;
    let state = stack.inspect("redis").await?;
    assert_eq!((state.running, state.exit_code, state.pid), (false, 137, 0));
    assert_eq!(stack.is_frozen("redis").await?, None);
    stack.start("redis").await?;
    stack.healthy("redis", SOON).await?;
    stack.restart("redis", Duration::from_secs(5)).await?;
    stack.healthy("redis", SOON).await?;

    assert!(stack.is_connected("redis").await?);
    stack.disconnect("redis").await?;
    stack.disconnect("redis").await?;
    assert!(!stack.is_connected("redis").await?);
    assert_eq!(get(&stack, "webhook", "/resolve/redis").await?, "false");
    stack.connect("redis").await?;
    stack.connect("redis").await?;
    assert!(stack.is_connected("redis").await?);
    stack.healthy("redis", SOON).await?;
    assert_eq!(get(&stack, "webhook", "/resolve/redis").await?, "true");

    let stats = stack.stats("webhook").await?;
    assert!(
        stats.rss_bytes > 0 && stats.pids > 0 && stats.cpu_total_ns > 0,
        "{stats:?}"
    );
    assert!(matches!(
        stack.addr("nobody", "main"),
        Err(StackError::UnknownService { .. })
    ));
    assert!(matches!(
        stack.addr("redis", "side"),
        Err(StackError::UnknownPort { .. })
    ));
    stack.pause("webhook").await?;
    stack.down().await?;
    assert_eq!(sweep_run(&engine, stack.run_id()).await?, Swept::default());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ends_is_named_with_its_log() -> Outcome {
    let engine = Engine::connect().await?;
    let mut broken = common::app("webhook");
    broken.command = vec!["nonsense".into()];
    let target = common::target(vec![common::redis(), broken]);
    let found = provide(&engine, &target).await?;
    let wanted = options("broken");
    let run_id = wanted.run_id.clone();
    let error = Stack::up(&engine, &found, &target, wanted).await.err();
    let Some(UpError::Exited {
        service,
        exit_code,
        log_tail,
    }) = error
    else {
        return Err(format!("{error:?}").into());
    };
    assert_eq!((service.as_str(), exit_code), ("webhook", 1));
    assert!(log_tail.concat().contains("usage: helper"), "{log_tail:?}");
    assert_eq!(sweep_run(&engine, &run_id).await?, Swept::default());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_never_gets_healthy_is_named() -> Outcome {
    let engine = Engine::connect().await?;
    let mut deaf = common::app("webhook");
    deaf.command = vec!["serve".into(), "9999".into()];
    let mut target = common::target(vec![deaf]);
    target.ready_within = Duration::from_secs(3);
    let found = provide(&engine, &target).await?;
    let wanted = options("deaf");
    let run_id = wanted.run_id.clone();
    let error = Stack::up(&engine, &found, &target, wanted).await.err();
    let Some(UpError::NotReady { service, state, .. }) = error else {
        return Err(format!("{error:?}").into());
    };
    assert_eq!((service.as_str(), state.running), ("webhook", true));
    assert_eq!(sweep_run(&engine, &run_id).await?, Swept::default());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_wishes_are_refused_before_anything_starts() -> Outcome {
    let engine = Engine::connect().await?;
    let target = common::target(vec![common::app("webhook")]);
    let found = provide(&engine, &target).await?;
    let mut wishes = vec![
        UpOptions::default(),
        options("Upper"),
        options("x"),
        options("x"),
        options("x"),
    ];
    wishes[2].defect = Some("unheard-of".into());
    wishes[3].env.insert("nobody".into(), BTreeMap::new());
    wishes[4].replicas.insert("webhook".into(), 0);
    for wish in wishes {
        let result = Stack::up(&engine, &found, &target, wish.clone()).await;
        assert!(matches!(result, Err(UpError::Options(_))), "{wish:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_image_without_recipe_fails_fast() -> Outcome {
    let engine = Engine::connect().await?;
    let mut service = common::redis();
    service.image = firedrill_plan::ImageSource::Named {
        reference: "firedrill-nothing:1".into(),
        recipe: None,
    };
    let target = common::target(vec![service]);
    let limited = tokio::time::timeout(Duration::from_secs(5), provide(&engine, &target)).await?;
    let error = limited.err().ok_or("it was found")?.to_string();
    assert!(
        error.contains("firedrill-nothing:1") && error.contains("docker load"),
        "{error}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_fails_is_quoted() -> Outcome {
    let engine = Engine::connect().await?;
    let mut service = common::postgres();
    if let firedrill_plan::ImageSource::Postgres { schema, .. } = &mut service.image {
        *schema = "CREATE TABEL oops ();".into();
    }
    let target = common::target(vec![service]);
    let error = provide(&engine, &target)
        .await
        .err()
        .ok_or("it was applied")?;
    assert!(error.to_string().contains("syntax error"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_is_dropped_goes_away() -> Outcome {
    let engine = Engine::connect().await?;
    let target = common::target(vec![common::app("webhook")]);
    let found = provide(&engine, &target).await?;
    let stack = Stack::up(&engine, &found, &target, options("dropped")).await?;
    let run_id = stack.run_id().to_string();
    drop(stack);
    assert_eq!(sweep_run(&engine, &run_id).await?, Swept::default());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_fails_fast() -> Outcome {
    let engine = Engine::connect().await?;
    let mut service = common::redis();
    service.image = firedrill_plan::ImageSource::Named {
        reference: "127.0.0.1:1/nothing:1".into(),
        recipe: None,
    };
    let target = common::target(vec![service]);
    let limited = tokio::time::timeout(Duration::from_secs(10), provide(&engine, &target)).await?;
    let error = limited.err().ok_or("it was found")?.to_string();
    assert!(error.contains("can't be pulled"), "{error}");
    Ok(())
}
