//! A harness that is killed leaves nothing behind.

mod common;

use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use firedrill_stack::{Engine, Janitor, Stack, Swept, UpOptions, images, sweep, sweep_run};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

type Outcome = Result<(), Box<dyn Error>>;

/// Containers of a run that the engine lists, asked of its command line: a second opinion.
async fn count(run_id: &str) -> Result<usize, Box<dyn Error>> {
    let filter = format!("label=firedrill={run_id}");
    let mut docker = Command::new("docker");
    let output = docker
        .args(["ps", "-aq", "--filter", &filter])
        .output()
        .await?;
    Ok(String::from_utf8(output.stdout)?.lines().count())
}

/// A harness of its own process, once its stack is up and paused.
async fn lead(helper: &Path, run_id: &str) -> Result<Child, Box<dyn Error>> {
    let mut lead = Command::new(helper)
        .args(["lead", run_id])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdout = lead.stdout.take().ok_or("no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(Duration::from_secs(40), lines.next_line()).await??;
    assert_eq!(line.as_deref(), Some("paused"));
    Ok(lead)
}

#[tokio::test]
async fn a_killed_harness_is_cleaned_up_after() -> Outcome {
    let engine = Engine::connect().await?;
    let helper = common::helper()?;
    let target = common::target(vec![common::redis()]);
    images::provision(&engine, &target, &helper, &mut |_| {}).await?;
    let run_id = format!("test-killed-{}", std::process::id());
    let mut lead = lead(helper.as_ref(), &run_id).await?;
    assert_eq!(count(&run_id).await?, 1);

    lead.kill().await?;
    let killed = Instant::now();
    while count(&run_id).await? > 0 {
        assert!(
            killed.elapsed() < Duration::from_secs(10),
            "the janitor didn't come"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("removed {:?} after SIGKILL", killed.elapsed());
    Ok(())
}

/// A run is taken up again under its old id while the janitor of the harness that died is still at it.
#[tokio::test]
async fn the_stack_of_who_takes_the_run_up_again_is_left_alone() -> Outcome {
    let engine = Engine::connect().await?;
    let helper = common::helper()?;
    let target = common::target(vec![common::redis()]);
    let images = images::provision(&engine, &target, &helper, &mut |_| {}).await?;
    let run_id = format!("test-again-{}", std::process::id());
    let mut lead = lead(helper.as_ref(), &run_id).await?;
    lead.kill().await?;
    let killed = Instant::now();
    sweep(&engine).await?;
    let options = UpOptions {
        run_id: run_id.clone(),
        ..UpOptions::default()
    };
    let stack = Stack::up(&engine, &images, &target, options).await?;
    // The janitor looks for a second after what it found last, and for what came late.
    while killed.elapsed() < Duration::from_secs(5) {
        let seen = count(&run_id).await?;
        assert_eq!(seen, 1, "{:?} after the SIGKILL", killed.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stack.down().await?;
    Ok(())
}

async fn docker(args: &[&str]) -> Outcome {
    let output = Command::new("docker").args(args).output().await?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

/// A container that another hand is removing leaves its network after it has left the list.
#[tokio::test]
async fn a_network_that_is_still_being_left_is_waited_for() -> Outcome {
    let engine = Engine::connect().await?;
    let helper = common::helper()?;
    let target = common::target(vec![common::redis()]);
    images::provision(&engine, &target, &helper, &mut |_| {}).await?;
    let run_id = format!("test-left-{}", std::process::id());
    let label = format!("firedrill={run_id}");
    docker(&["network", "create", "--label", &label, &run_id]).await?;
    // Not listed under the run's label, as one that is going isn't listed any more.
    let run = ["run", "--detach", "--network", &run_id, "--name", &run_id];
    docker(&[&run[..], &["firedrill-redis:7", "redis-server"]].concat()).await?;
    let leaving = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        docker(&["rm", "--force", &run_id]).await
    };
    let (swept, left) = tokio::join!(sweep_run(&engine, &run_id), leaving);
    left?;
    assert_eq!(swept?.networks, 1);
    Ok(())
}

#[tokio::test]
async fn a_janitor_that_is_told_so_leaves_without_a_touch() -> Outcome {
    let run_id = format!("test-done-{}", std::process::id());
    let janitor = Janitor::spawn(&common::helper()?, &["janitor", &run_id]).await?;
    let pid = janitor.pid().ok_or("it isn't running")?;
    // Neither Ctrl-C nor a polite end reach it.
    for signal in ["-INT", "-TERM", "-HUP"] {
        Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .await?;
    }
    janitor.done().await?;
    let engine = Engine::connect().await?;
    assert_eq!(sweep_run(&engine, &run_id).await?, Swept::default());
    Ok(())
}

#[tokio::test]
async fn what_is_no_janitor_is_noticed() -> Outcome {
    let helper = common::helper()?;
    assert!(Janitor::spawn(&helper, &["nonsense"]).await.is_err());
    assert!(
        Janitor::spawn(std::path::Path::new("/nowhere"), &[])
            .await
            .is_err()
    );
    Ok(())
}
