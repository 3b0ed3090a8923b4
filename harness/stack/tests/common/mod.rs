//! Targets built in code, for the tests and examples of this crate. Each of them uses a part.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use firedrill_plan::{
    Audit, Defects, Healthy, ImageSource, Role, Service, Signals, States, Target,
};

pub const SCHEMA: &str = "CREATE TABLE drill (id bigint PRIMARY KEY, note text NOT NULL);\nINSERT INTO drill VALUES (1, 'it''s there');";

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn service(name: &str, role: Role, image: ImageSource, port: u16, healthy: Healthy) -> Service {
    Service {
        name: name.into(),
        role,
        image,
        command: Vec::new(),
        files: BTreeMap::new(),
        env: BTreeMap::new(),
        ports: BTreeMap::from([("main".to_string(), port)]),
        healthy,
        logs: true,
        heartbeat: None,
        expected_errors: Vec::new(),
        memory_max: None,
    }
}

pub fn redis() -> Service {
    let image = ImageSource::Named {
        reference: "firedrill-redis:7".into(),
        recipe: Some("redis".into()),
    };
    service(
        "redis",
        Role::Redis,
        image,
        6379,
        Healthy::Redis {
            port: "main".into(),
        },
    )
}

pub fn postgres() -> Service {
    let image = ImageSource::Postgres {
        reference: "firedrill-postgres:15".into(),
        recipe: Some("postgres".into()),
        database: "vanta".into(),
        user: "vanta".into(),
        password: "vanta".into(),
        schema: SCHEMA.into(),
    };
    let healthy = Healthy::Postgres {
        port: "main".into(),
        url: "postgres://vanta:vanta@{host}:{port}/vanta".into(),
    };
    service("postgres", Role::Postgres, image, 5432, healthy)
}

/// The helper example, serving HTTP.
pub fn app(name: &str) -> Service {
    let healthy = Healthy::Http {
        port: "main".into(),
        path: "/health".into(),
    };
    let mut app = service(name, Role::App, ImageSource::Executable, 8090, healthy);
    app.command = vec!["serve".into(), "8090".into()];
    app.env = map([("RUN", "${run.id}"), ("TOKEN", "${secret.TOKEN}")]);
    app
}

pub fn target(services: Vec<Service>) -> Target {
    Target {
        name: "test".into(),
        production: false,
        secrets: BTreeMap::new(),
        defects: Some(Defects {
            env: "DEFECT".into(),
            services: vec!["webhook".into()],
            names: vec!["lies".into()],
        }),
        services,
        env: map([("SHARED", "yes")]),
        signals: Signals {
            service: "webhook".into(),
            port: "main".into(),
            path: "/".into(),
            body: "{}".into(),
            variables: BTreeMap::new(),
            signature_header: "X-Signature".into(),
            secret: "TOKEN".into(),
            key: String::new(),
            deadline: Duration::from_secs(1),
            word: "/status".into(),
            reason: "/reason".into(),
            names: Vec::new(),
            fields: BTreeMap::new(),
            unknown_reasons: Vec::new(),
            max_in_flight: 1,
        },
        mode: None,
        prometheus: None,
        audit: Audit {
            postgres: None,
            sql: BTreeMap::new(),
            pending: None,
            chain: None,
            states: States::default(),
            metrics: Vec::new(),
            same: Vec::new(),
        },
        backup: None,
        metrics: Vec::new(),
        metric: BTreeMap::new(),
        ready_within: Duration::from_secs(30),
    }
}

/// The helper example, which `cargo test` and `cargo run --example` build beside this program.
pub fn helper() -> std::io::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let dir = me.ancestors().nth(2).map(|dir| dir.join("examples"));
    dir.map(|dir| dir.join("helper"))
        .filter(|path| path.is_file())
        .ok_or_else(|| std::io::Error::other("no example `helper`: build with --examples"))
}
