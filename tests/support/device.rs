//! A device that publishes.

use rumqttc::{AsyncClient, Broker, MqttOptions, PublishOptions, QoS};
use tokio::task::JoinHandle;

use super::within;

/// Connected to a broker's open listener; leaves with this handle.
pub struct Device {
    client: AsyncClient,
    driver: JoinHandle<()>,
}

impl Device {
    /// Connects.
    pub fn connect(port: u16) -> Self {
        Self::with(port, |_| {})
    }

    /// Connects with more options.
    pub fn with(port: u16, more: impl FnOnce(&mut MqttOptions)) -> Self {
        let id = format!("device-{}-{port}", std::process::id());
        let mut options = MqttOptions::new(id, Broker::tcp("127.0.0.1", port));
        options.set_max_request_batch(64);
        more(&mut options);
        let (client, mut events) = AsyncClient::builder(options).capacity(512).build();
        let driver = tokio::spawn(async move { while events.poll().await.is_ok() {} });
        Self { client, driver }
    }

    /// Publishes at QoS 1 and waits until the broker has all.
    pub async fn publish<P: AsRef<[u8]>>(&self, topic: &str, payloads: impl IntoIterator<Item = P>) {
        self.send(topic, payloads, PublishOptions::new(QoS::AtLeastOnce)).await;
    }

    /// Publishes topics and payloads at QoS 1; for each, whether the broker acknowledged it before the connection ended.
    pub async fn offer(&self, messages: Vec<(String, String)>) -> Vec<bool> {
        let mut notices = vec![];
        for (topic, payload) in messages {
            let sent = self.client.publish_tracked(topic, payload.into_bytes(), PublishOptions::new(QoS::AtLeastOnce));
            notices.push(within("publishing", sent).await.ok());
        }
        let mut taken = vec![];
        for notice in notices {
            taken.push(match notice {
                Some(notice) => within("the broker's PUBACK", notice.wait_completion_async()).await.is_ok(),
                None => false,
            });
        }
        taken
    }

    /// Publishes at QoS 0.
    pub async fn mention(&self, topic: &str, payload: &str) {
        self.send(topic, [payload], PublishOptions::new(QoS::AtMostOnce)).await;
    }

    /// Publishes a retained message.
    pub async fn retain(&self, topic: &str, payload: &str) {
        self.send(topic, [payload], PublishOptions::new(QoS::AtLeastOnce).retained()).await;
    }

    async fn send<P: AsRef<[u8]>>(&self, topic: &str, payloads: impl IntoIterator<Item = P>, options: PublishOptions) {
        let mut notices = vec![];
        for payload in payloads {
            let sent = self.client.publish_tracked(topic, payload.as_ref().to_vec(), options.clone());
            notices.push(within("publishing", sent).await.unwrap());
        }
        for notice in notices {
            within("the broker's PUBACK", notice.wait_completion_async()).await.unwrap();
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
