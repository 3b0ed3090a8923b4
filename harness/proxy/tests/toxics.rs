//! Every toxic, by its measured effect on a connection through the proxy.

mod support;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Rig, drain, echo, round_trip, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn timed(stream: &mut tokio::net::TcpStream) -> Duration {
    let start = Instant::now();
    round_trip(stream, b"ping").await.expect("round trip");
    start.elapsed()
}

fn about(elapsed: Duration, from_ms: u64, to_ms: u64) {
    let range = Duration::from_millis(from_ms)..Duration::from_millis(to_ms);
    assert!(range.contains(&elapsed), "{elapsed:?} is not in {range:?}");
}

#[tokio::test]
async fn latency_comes_and_goes_on_a_live_connection() {
    let rig = Rig::new(echo().await).await;
    let mut stream = rig.connect().await;
    about(timed(&mut stream).await, 0, 50);
    rig.add("latency", "downstream", json!({ "latency": 100 }))
        .await;
    about(timed(&mut stream).await, 100, 150);
    assert_eq!(rig.touched().await, (4, 1, 0));
    let change = json!({ "attributes": { "jitter": 50 } });
    let (status, toxic) = rig.call("POST", "/proxies/p/toxics/t", Some(change)).await;
    assert_eq!(
        (status, &toxic["attributes"]),
        (200, &json!({ "latency": 100, "jitter": 50 }))
    );
    for _ in 0..3 {
        about(timed(&mut stream).await, 50, 200);
    }
    rig.remove().await;
    about(timed(&mut stream).await, 0, 50);
}

#[tokio::test]
async fn small_latency_is_precise() {
    let rig = Rig::new(echo().await).await;
    rig.add("latency", "upstream", json!({ "latency": 2 }))
        .await;
    let mut stream = rig.connect().await;
    let mut all = Vec::new();
    for _ in 0..15 {
        all.push(timed(&mut stream).await);
    }
    all.sort();
    // A busy machine only adds to what the toxic adds: the quickest of them shows how precise the toxic itself is.
    assert!(
        all[0] >= Duration::from_millis(2) && all[0] < Duration::from_micros(3_500),
        "{all:?}"
    );
}

#[tokio::test]
async fn removing_latency_releases_what_waits() {
    let rig = Rig::new(echo().await).await;
    rig.add("latency", "upstream", json!({ "latency": 60_000 }))
        .await;
    let mut stream = rig.connect().await;
    stream.write_all(b"stuck").await.expect("send");
    within("the toxic to be felt", async {
        while rig.touched().await.0 < 5 {}
    })
    .await;
    rig.remove().await;
    let mut back = [0; 5];
    within("the release", stream.read_exact(&mut back))
        .await
        .expect("read");
    assert_eq!(&back, b"stuck");
}

#[tokio::test]
async fn bandwidth_is_within_a_fifth() {
    let rig = Rig::new(echo().await).await;
    rig.add("bandwidth", "downstream", json!({ "rate": 500 }))
        .await;
    let stream = rig.connect().await;
    let (mut from, mut to) = stream.into_split();
    let sent: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let expected = sent.clone();
    let start = Instant::now();
    let sender = tokio::spawn(async move { to.write_all(&sent).await.map(|()| to) });
    let mut got = vec![0; expected.len()];
    within("the data", from.read_exact(&mut got))
        .await
        .expect("read");
    about(start.elapsed(), 480, 720);
    assert!(got == expected, "the data changed on its way");
    sender.await.expect("join").expect("send");
    assert_eq!(rig.touched().await, (300_000, 1, 0));
}

#[tokio::test]
async fn timeout_swallows_and_new_connections_recover() {
    let rig = Rig::new(echo().await).await;
    let mut idle = rig.connect().await;
    round_trip(&mut idle, b"before").await.expect("healthy");
    let mut victim = rig.connect().await;
    rig.add("timeout", "downstream", json!({ "timeout": 0 }))
        .await;
    victim.write_all(b"lost").await.expect("send");
    let mut byte = [0; 1];
    let silence = tokio::time::timeout(Duration::from_millis(150), victim.read(&mut byte)).await;
    assert!(silence.is_err(), "something came through the blackhole");
    assert_eq!(rig.touched().await, (4, 1, 0));
    rig.remove().await;
    // The victim lost bytes, so it can't go on; the idle connection lost none.
    assert_eq!(drain(&mut victim).await.0, b"");
    round_trip(&mut idle, b"after").await.expect("recovered");
    round_trip(&mut rig.connect().await, b"new")
        .await
        .expect("recovered");
}

#[tokio::test]
async fn timeout_closes_when_it_is_over() {
    let rig = Rig::new(echo().await).await;
    let mut stream = rig.connect().await;
    round_trip(&mut stream, b"x").await.expect("healthy");
    let start = Instant::now();
    rig.add("timeout", "upstream", json!({ "timeout": 150 }))
        .await;
    assert_eq!(drain(&mut stream).await.0, b"");
    about(start.elapsed(), 150, 300);
    assert_eq!(rig.touched().await.1, 1);
}

#[tokio::test]
async fn reset_peer_sends_a_reset() {
    let rig = Rig::new(echo().await).await;
    let mut stream = rig.connect().await;
    round_trip(&mut stream, b"x").await.expect("healthy");
    rig.add("reset_peer", "downstream", json!({ "timeout": 50 }))
        .await;
    let start = Instant::now();
    stream.write_all(b"hello").await.expect("send");
    let (data, end) = drain(&mut stream).await;
    about(start.elapsed(), 50, 150);
    assert_eq!(
        (data.len(), end.map_err(|e| e.kind())),
        (0, Err(ErrorKind::ConnectionReset))
    );
    assert_eq!(rig.touched().await, (5, 1, 0));
}

#[tokio::test]
async fn slow_close_delays_only_the_end() {
    let rig = Rig::new(echo().await).await;
    rig.add("slow_close", "downstream", json!({ "delay": 200 }))
        .await;
    let mut stream = rig.connect().await;
    let start = Instant::now();
    round_trip(&mut stream, b"x").await.expect("round trip");
    about(start.elapsed(), 0, 100);
    let start = Instant::now();
    stream.shutdown().await.expect("half close");
    assert_eq!(drain(&mut stream).await.0, b"");
    about(start.elapsed(), 200, 300);
    assert_eq!(rig.touched().await.1, 1);
}

#[tokio::test]
async fn slicer_cuts_and_paces() {
    let rig = Rig::new(echo().await).await;
    rig.add(
        "slicer",
        "downstream",
        json!({ "average_size": 10, "size_variation": 2, "delay": 5_000 }),
    )
    .await;
    let mut stream = rig.connect().await;
    let start = Instant::now();
    stream.write_all(&[7; 200]).await.expect("send");
    let (mut reads, mut total) = (0, 0);
    let mut buffer = [0; 256];
    while total < 200 {
        let count = within("a slice", stream.read(&mut buffer))
            .await
            .expect("read");
        assert!(count > 0, "closed after {total} bytes");
        (reads, total) = (reads + 1, total + count);
    }
    // 200 bytes in slices of 8 to 12 are 17 to 25 slices, with 5 ms between two.
    about(start.elapsed(), 75, 250);
    assert!(reads >= 8, "only {reads} reads");
}

#[tokio::test]
async fn limit_data_is_exact() {
    let rig = Rig::new(echo().await).await;
    rig.add("limit_data", "downstream", json!({ "bytes": 1000 }))
        .await;
    let mut stream = rig.connect().await;
    round_trip(&mut stream, &[1; 400])
        .await
        .expect("below the limit");
    stream.write_all(&[2; 5000]).await.expect("send");
    let (rest, _) = drain(&mut stream).await;
    assert_eq!(rest.len(), 600);
    assert_eq!(rig.touched().await.1, 1);
}

#[tokio::test]
async fn toxicity_spares_connections() {
    let rig = Rig::new(echo().await).await;
    let toxic =
        json!({ "name": "t", "type": "limit_data", "toxicity": 0.0, "attributes": { "bytes": 0 } });
    assert_eq!(
        rig.call("POST", "/proxies/p/toxics", Some(toxic)).await.0,
        200
    );
    round_trip(&mut rig.connect().await, b"spared")
        .await
        .expect("spared");
    assert_eq!(rig.touched().await, (0, 0, 0));
    let change = json!({ "toxicity": 1.0 });
    assert_eq!(
        rig.call("PATCH", "/proxies/p/toxics/t", Some(change))
            .await
            .0,
        200
    );
    let mut stream = rig.connect().await;
    stream.write_all(b"hit").await.expect("send");
    assert_eq!(drain(&mut stream).await.0, b"");
}

#[tokio::test]
async fn toxics_work_together() {
    let rig = Rig::new(echo().await).await;
    rig.add("latency", "upstream", json!({ "latency": 50 }))
        .await;
    let second = json!({ "type": "latency", "attributes": { "latency": 50 } });
    assert_eq!(
        rig.call("POST", "/proxies/p/toxics", Some(second)).await.0,
        200
    );
    let mut stream = rig.connect().await;
    about(timed(&mut stream).await, 100, 170);
}

#[tokio::test]
async fn disabling_closes_and_enabling_takes_the_same_port() {
    let rig = Rig::new(echo().await).await;
    let mut stream = rig.connect().await;
    round_trip(&mut stream, b"x").await.expect("healthy");
    let (_, proxy) = rig
        .call("POST", "/proxies/p", Some(json!({ "enabled": false })))
        .await;
    assert_eq!(
        (&proxy["enabled"], &proxy["open_connections"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(drain(&mut stream).await.0, b"");
    let refused = tokio::net::TcpStream::connect(rig.proxy)
        .await
        .expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let (status, proxy) = rig
        .call("PATCH", "/proxies/p", Some(json!({ "enabled": true })))
        .await;
    assert_eq!(
        (status, proxy["listen"].as_str()),
        (200, Some(rig.proxy.to_string().as_str()))
    );
    round_trip(&mut rig.connect().await, b"y")
        .await
        .expect("recovered");
}

/// An upstream that accepts and never reads: every buffer on the way fills up and the connection is dead.
#[tokio::test]
async fn removal_from_a_dead_connection_returns() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let rig = Rig::new(listener.local_addr().expect("address")).await;
    let stream = rig.connect().await;
    let (dead, _) = listener.accept().await.expect("accept");
    rig.add("bandwidth", "upstream", json!({ "rate": 4_000_000 }))
        .await;
    let chunk = vec![0; 64 * 1024];
    // Until nothing more goes in for a while: the pump waits for a write that never completes.
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(200), stream.writable()).await
    {
        let _ = stream.try_write(&chunk);
    }
    let start = Instant::now();
    rig.remove().await;
    rig.add("reset_peer", "downstream", json!({})).await;
    rig.remove().await;
    assert_eq!(rig.call("POST", "/reset", None).await.0, 204);
    assert_eq!(rig.call("DELETE", "/proxies/p", None).await.0, 204);
    about(start.elapsed(), 0, 1_000);
    drop(dead);
}

#[tokio::test]
async fn half_closed_and_large_transfers_arrive_whole() {
    let rig = Rig::new(echo().await).await;
    let (mut from, mut to) = rig.connect().await.into_split();
    let data: Vec<u8> = (0..4_000_000u32).map(|i| (i % 253) as u8).collect();
    let sent = data.clone();
    let sender = tokio::spawn(async move {
        to.write_all(&sent).await?;
        to.shutdown().await
    });
    let mut got = Vec::new();
    within("the echo", from.read_to_end(&mut got))
        .await
        .expect("read");
    sender.await.expect("join").expect("send");
    assert!(
        got == data,
        "{} of {} bytes came back, or others",
        got.len(),
        data.len()
    );
}

#[tokio::test]
async fn an_unreachable_upstream_closes_the_client() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind")
        .local_addr()
        .expect("address");
    let rig = Rig::new(gone).await;
    let _ = drain(&mut rig.connect().await).await;
    let (_, proxy) = rig.call("GET", "/proxies/p", None).await;
    assert_eq!(
        (&proxy["failed_connects"], &proxy["accepted_connections"]),
        (&json!(1), &json!(1))
    );
}
