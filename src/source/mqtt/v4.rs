//! MQTT 3.1.1 through `rumqttc-v4-next`.

use std::sync::Arc;

use rumqttc_v4::{
    AckMode, AsyncClient, Broker, ConnectReturnCode, ConnectionError, EventLoop, ManualAck, MqttOptions,
    NetworkOptions, Packet, PubAck, QoS, StateError, SubscribeFilter, SubscribeReasonCode,
};

use super::fault::SourceError;
use super::link::{Event, Link, Message, Voice};
use super::plan::Plan;
use super::wire::{self, Aside};
use crate::limits;

pub(super) struct V4 {
    inner: EventLoop,
    aside: Aside,
    resumed: bool,
}

pub(super) struct V4Voice {
    client: AsyncClient,
    aside: Aside,
}

pub(super) fn open(plan: &Plan) -> Result<(V4, V4Voice), SourceError> {
    let aside = Aside::default();
    let (target, octets) = (Arc::clone(&plan.target), aside.clone());
    let mut o = MqttOptions::new(plan.client_id.clone(), Broker::tcp(plan.target.host.clone(), plan.target.port));
    o.set_socket_connector(move |_, _| wire::connect(Arc::clone(&target), octets.clone()))
        .set_keep_alive(u16::try_from(limits::MQTT_KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX))
        .set_clean_session(false)
        .set_ack_mode(AckMode::Manual)
        // Our sieve shortens what is too large.
        .set_max_packet_size(usize::MAX, usize::MAX)
        .set_request_channel_capacity(usize::from(limits::MQTT_IN_FLIGHT_MAX) + 8)
        .set_max_request_batch(256)
        .set_read_batch_size(128);
    match (&plan.user, &plan.password) {
        (Some(user), Some(password)) => o.set_credentials(user.clone(), password.line().to_vec()),
        (Some(user), None) => o.set_username(user.clone()),
        _ => &mut o,
    };
    let built = AsyncClient::builder(o).try_build();
    let (client, mut inner) =
        built.map_err(|e| SourceError::Setting { name: plan.name.to_string(), reason: e.to_string() })?;
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(limits::MQTT_CONNECT_MAX.as_secs());
    inner.set_network_options(network);
    Ok((V4 { inner, aside: aside.clone(), resumed: false }, V4Voice { client, aside }))
}

impl Link for V4 {
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        let first = self.inner.poll().await.map_err(|e| self.aside.trouble().unwrap_or_else(|| sort(&e)))?;
        self.take(first, events);
        // What the same read brought: taken here, without a turn through the scheduler each.
        while let Some(event) = self.inner.state.events.pop_front() {
            self.take(event, events);
        }
        Ok(())
    }
}

impl V4 {
    fn take(&mut self, event: rumqttc_v4::Event, events: &mut Vec<Event>) {
        let rumqttc_v4::Event::Incoming(packet) = event else { return };
        events.push(match packet {
            Packet::Publish(p) => Event::Message(Message {
                packet_id: if p.qos == QoS::AtMostOnce { 0 } else { p.pkid },
                topic: p.topic,
                payload: p.payload,
                dup: p.dup,
                retained: p.retain,
                // A subscription that the broker already had: MQTT 3.1.1 cannot ask it to leave its retained messages out.
                repeat: p.retain && !p.dup && self.resumed,
            }),
            Packet::ConnAck(ack) => {
                self.resumed = ack.session_present;
                Event::Connected { resumed: self.resumed }
            }
            Packet::SubAck(ack) => Event::Subscribed {
                refused: ack.return_codes.iter().filter(|c| !matches!(c, SubscribeReasonCode::Success(_))).count(),
            },
            _ => return,
        });
    }
}

impl Voice for V4Voice {
    fn acknowledge(&self, packet_id: u16) -> bool {
        self.client.try_manual_ack(ManualAck::PubAck(PubAck::new(packet_id))).is_ok()
    }

    fn subscribe(&self, filters: &[String]) {
        let filters = filters.iter().map(|f| SubscribeFilter::new(f.clone(), QoS::AtLeastOnce));
        let _ = self.client.try_subscribe_many(filters);
    }

    fn leave(&self) {
        self.aside.leave();
        // Not `disconnect_now`: that would overtake the acknowledgements.
        let _ = self.client.try_disconnect();
    }
}

fn sort(error: &ConnectionError) -> SourceError {
    match error {
        ConnectionError::Io(e) => SourceError::from_io(e),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            SourceError::Unreachable(std::io::ErrorKind::TimedOut)
        }
        ConnectionError::ConnectionRefused(code) => refused(*code),
        ConnectionError::MqttState(e) => sort_state(e),
        ConnectionError::NotConnAck(_) => SourceError::Refused("it does not speak MQTT 3.1.1"),
        _ => SourceError::Lost("ended"),
    }
}

fn refused(code: ConnectReturnCode) -> SourceError {
    use ConnectReturnCode as C;
    match code {
        C::BadUserNamePassword => SourceError::Credentials,
        C::NotAuthorized => SourceError::NotAuthorised,
        C::ServiceUnavailable => SourceError::Busy,
        C::RefusedProtocolVersion => SourceError::Refused("it does not speak MQTT 3.1.1"),
        C::BadClientId => SourceError::Refused("it does not take our client id"),
        C::Success => SourceError::Refused("it gives no usable reason"),
    }
}

fn sort_state(error: &StateError) -> SourceError {
    match error {
        StateError::Io(e) | StateError::Deserialization(rumqttc_v4::Error::Io(e)) => SourceError::from_io(e),
        StateError::Deserialization(rumqttc_v4::Error::PayloadSizeLimitExceeded(_)) => SourceError::Packet("too large"),
        StateError::Deserialization(_) | StateError::ProtocolViolation(_) => SourceError::Packet("malformed"),
        StateError::AwaitPingResp => SourceError::Lost("the broker is silent"),
        StateError::ConnectionAborted => SourceError::Lost("closed"),
        _ => SourceError::Lost("out of step"),
    }
}
