//! A container made anew: removed and started again from what it was made from, with a changed environment.
//! That is how an environment is changed at all; stopping and starting keeps the old one.

use std::collections::BTreeMap;

use super::up::{labels, start_all};
use super::{Instance, Stack, StackError, lock};
use crate::engine::SLOW;

impl Stack {
    /// Removes the container and makes it anew under its name and labels, with the environment of its bring-up
    /// and these changes. It gets a new id and new ports; wait for [`Stack::healthy`]. Stop it first if it is to
    /// end in order.
    pub async fn recreate(
        &self,
        service: &str,
        env: &BTreeMap<String, String>,
    ) -> Result<(), StackError> {
        let instance = self.instance(service)?;
        // The engine may give the ports to somebody else from now on.
        lock(&instance.published).clear();
        self.remove(instance).await?;
        let mut wanted = instance.wanted.clone();
        wanted.env.extend(env.clone());
        let labels = labels(&self.run_id, self.keep);
        let one = std::slice::from_ref(&wanted);
        let made = start_all(&self.run_id, &labels, one, SLOW).await;
        let not_made = |detail: String| StackError::NotMade {
            service: service.into(),
            detail,
        };
        let container = made
            .map_err(|error| not_made(error.to_string()))?
            .pop()
            .ok_or_else(|| not_made("the engine started nothing".into()))?;
        *lock(&instance.id) = container.id().to_string();
        *lock(&instance.cpu) = None;
        lock(&self.containers).push(container);
        self.learn_ports(instance).await
    }

    /// If that container has ended, a name for the life that it had: a start makes another one.
    pub async fn ended_life(
        &self,
        service: &str,
        container: &str,
    ) -> Result<Option<String>, StackError> {
        let found = self.inspect_id(service, container).await?;
        let state = found.state.unwrap_or_default();
        let began = state.started_at.unwrap_or_default();
        let ended = state.running == Some(false);
        Ok(ended.then(|| format!("{container} since {began}")))
    }

    /// The environment that the engine started it with.
    pub async fn environment(&self, service: &str) -> Result<BTreeMap<String, String>, StackError> {
        let found = self.inspect_raw(self.instance(service)?).await?;
        let lines = found
            .config
            .and_then(|config| config.env)
            .unwrap_or_default();
        let pairs = lines.iter().filter_map(|line| line.split_once('='));
        Ok(pairs
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect())
    }

    async fn remove(&self, instance: &Instance) -> Result<(), StackError> {
        let id = instance.id();
        let old = {
            let mut containers = lock(&self.containers);
            let at = containers.iter().position(|one| one.id() == id);
            at.map(|at| containers.swap_remove(at))
        };
        let not_made = |detail: String| StackError::NotMade {
            service: instance.name.clone(),
            detail,
        };
        let Some(old) = old else {
            return Err(not_made("its container isn't this stack's any more".into()));
        };
        match tokio::time::timeout(SLOW, old.rm()).await {
            Ok(removed) => removed.map_err(|error| not_made(error.to_string())),
            Err(_) => Err(not_made(format!(
                "the old container isn't removed after {} s",
                SLOW.as_secs()
            ))),
        }
    }
}
