//! `org.bluez.AgentManager1`, and pairing as BlueZ does it: the agent is asked, and its answer decides.

use std::sync::Arc;
use std::time::Duration;

use zbus::zvariant::{ObjectPath, OwnedObjectPath};
use zbus::{Connection, fdo, interface};

use super::{Peripheral, State};

/// How a peripheral pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Without a code.
    JustWorks,
    /// It shows these six digits, a person types them here.
    Shows(u32),
    /// We show six digits, a person types them there.
    Types(u32),
    /// Both show the same digits, a person compares.
    Compares(u32),
}

pub struct Manager(pub Arc<State>);

#[interface(name = "org.bluez.AgentManager1")]
impl Manager {
    async fn register_agent(
        &self,
        agent: OwnedObjectPath,
        _capability: String,
        #[zbus(header)] header: zbus::message::Header<'_>,
    ) {
        let sender = header.sender().unwrap().to_string();
        *self.0.agent.lock().unwrap() = Some((sender, agent.to_string()));
    }
    async fn request_default_agent(&self, _agent: ObjectPath<'_>) {}
    async fn unregister_agent(&self, _agent: ObjectPath<'_>) {
        *self.0.agent.lock().unwrap() = None;
    }
}

/// Asks the agent as its method wants.
pub async fn pair(connection: &Connection, p: &Arc<Peripheral>, state: &Arc<State>) -> fdo::Result<()> {
    let failed = |_| fdo::Error::AuthFailed("org.bluez.Error.AuthenticationFailed".into());
    let agent = state.agent.lock().unwrap().clone();
    let Some((name, path)) = agent else { return Err(failed(())) };
    let device = ObjectPath::try_from(p.path()).unwrap();
    let ask = async |method: &str, with: Option<u32>| {
        let interface = Some("org.bluez.Agent1");
        let name = Some(name.as_str());
        let call = async {
            match (method, with) {
                ("DisplayPasskey", Some(key)) => {
                    connection.call_method(name, path.as_str(), interface, method, &(&device, key, 0u16)).await
                }
                (_, Some(key)) => connection.call_method(name, path.as_str(), interface, method, &(&device, key)).await,
                (_, None) => connection.call_method(name, path.as_str(), interface, method, &(&device,)).await,
            }
        };
        tokio::time::timeout(Duration::from_secs(60), call).await.map_err(|_| failed(()))?.map_err(|_| failed(()))
    };
    match p.manners().pairing {
        None => {}
        Some(Method::JustWorks) => {
            ask("RequestAuthorization", None).await?;
        }
        Some(Method::Shows(key)) => {
            let typed: u32 = ask("RequestPasskey", None).await?.body().deserialize().map_err(|_| failed(()))?;
            if typed != key {
                return Err(failed(()));
            }
        }
        Some(Method::Types(key)) => {
            ask("DisplayPasskey", Some(key)).await?;
            // The person reads and types.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Some(Method::Compares(key)) => {
            ask("RequestConfirmation", Some(key)).await?;
        }
    }
    Ok(())
}
