//! What the tests run: a service for inside of containers, and a harness that can be killed.
//!
//! `serve PORT` · `janitor RUN_ID` · `lead RUN_ID` (janitor, stack with a paused service, wait for the end)

#[path = "../tests/common/mod.rs"]
mod common;

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::{env, io::Read, io::Write};

use firedrill_stack::{Engine, Janitor, Stack, UpOptions, images, janitor};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", port] => serve(port.parse()?),
        ["janitor", run_id] => {
            tokio::runtime::Runtime::new()?.block_on(janitor::main(run_id))?;
            Ok(())
        }
        ["lead", run_id] => tokio::runtime::Runtime::new()?.block_on(lead(run_id)),
        _ => Err("usage: helper serve PORT | janitor RUN_ID | lead RUN_ID".into()),
    }
}

/// Answers every request with its environment; `/resolve/NAME` with whether the name resolves; `/exit` ends it.
fn serve(port: u16) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    println!("listening on {port}");
    for stream in listener.incoming() {
        // A client that left is no reason to end.
        match stream.and_then(answer) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => eprintln!("a client left: {error}"),
        }
    }
    Ok(())
}

/// Whether it was asked to end.
fn answer(mut stream: TcpStream) -> std::io::Result<bool> {
    let mut request = [0; 1024];
    let length = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let body = match path.strip_prefix("/resolve/") {
        Some(name) => {
            let found = std::net::ToSocketAddrs::to_socket_addrs(&(name, 1));
            format!("{}", found.is_ok_and(|mut found| found.next().is_some()))
        }
        None => env::vars()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect(),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    Ok(path == "/exit")
}

async fn lead(run_id: &str) -> Result<(), Box<dyn Error>> {
    let engine = Engine::connect().await?;
    let target = common::target(vec![common::redis()]);
    let me = env::current_exe()?;
    let janitor = Janitor::spawn(&me, &["janitor", run_id]).await?;
    let images = images::provision(&engine, &target, &me, &mut |_| {}).await?;
    let options = UpOptions {
        run_id: run_id.into(),
        ..UpOptions::default()
    };
    let stack = Stack::up(&engine, &images, &target, options).await?;
    stack.pause("redis").await?;
    println!("paused");
    // The test kills this process; its own end comes with the end of standard input.
    tokio::io::AsyncReadExt::read_u8(&mut tokio::io::stdin())
        .await
        .ok();
    stack.down().await?;
    janitor.done().await?;
    Ok(())
}
