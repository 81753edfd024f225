//! MQTT 5 through `rumqttc-v5-next`.

use std::sync::Arc;

use rumqttc::{
    AckMode, AsyncClient, Broker, BrokerSessionResumePolicy, ConnectReturnCode, ConnectionError, DisconnectReasonCode,
    EventLoop, IncomingPacketSizeLimit, ManualAck, MqttOptions, Packet, PersistedAckMode, PersistedSession, PubAck,
    QoS, RetainForwardRule, SessionStore, SessionStoreError, SessionStoreKey, StateError, SubscribeFilter,
    SubscribeReasonCode,
};

use super::fault::SourceError;
use super::link::{Event, Link, Message, Voice};
use super::plan::Plan;
use super::wire::{self, Aside};
use crate::limits;

/// We publish nothing; the client keeps room for each publish that could be unanswered, 216 octets, and at first for 65,535.
const PUBLISHES: u16 = 1;

pub(super) struct V5 {
    inner: EventLoop,
    aside: Aside,
}

pub(super) struct V5Voice {
    client: AsyncClient,
    aside: Aside,
}

pub(super) fn open(plan: &Plan) -> Result<(V5, V5Voice), SourceError> {
    let aside = Aside::default();
    let (target, octets) = (Arc::clone(&plan.target), aside.clone());
    let mut o = MqttOptions::new(plan.client_id.clone(), Broker::tcp(plan.target.host.clone(), plan.target.port));
    o.set_socket_connector(move |_, _| wire::connect(Arc::clone(&target), octets.clone()))
        .set_keep_alive(u16::try_from(limits::MQTT_KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX))
        .set_connect_timeout(limits::MQTT_CONNECT_MAX)
        .set_clean_start(false)
        .set_session_expiry_interval(Some(plan.session_seconds))
        .set_broker_session_resume_policy(BrokerSessionResumePolicy::AllowBrokerOnly)
        .set_session_store(Blank { client_id: plan.client_id.clone(), expiry: plan.session_seconds })
        .set_ack_mode(AckMode::Manual)
        .set_receive_maximum(Some(plan.in_flight))
        .set_outgoing_inflight_upper_limit(PUBLISHES)
        // Our sieve shortens what is too large. A limit told to the broker would make it drop such messages in silence.
        .set_incoming_packet_size_limit(IncomingPacketSizeLimit::Unlimited)
        .set_request_channel_capacity(usize::from(limits::MQTT_IN_FLIGHT_MAX) + 8)
        .set_max_request_batch(256)
        .set_read_batch_size(128);
    match (&plan.user, &plan.password) {
        (Some(user), Some(password)) => o.set_credentials(user.clone(), password.line().to_vec()),
        (Some(user), None) => o.set_username(user.clone()),
        _ => &mut o,
    };
    let built = AsyncClient::builder(o).try_build();
    let (client, inner) =
        built.map_err(|e| SourceError::Setting { name: plan.name.to_string(), reason: e.to_string() })?;
    Ok((V5 { inner, aside: aside.clone() }, V5Voice { client, aside }))
}

impl Link for V5 {
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

impl V5 {
    fn take(&mut self, event: rumqttc::Event, events: &mut Vec<Event>) {
        let rumqttc::Event::Incoming(packet) = event else { return };
        events.push(match packet {
            Packet::Publish(p) => Event::Message(Message {
                packet_id: if p.qos == QoS::AtMostOnce { 0 } else { p.pkid },
                topic: p.topic,
                payload: p.payload,
                dup: p.dup,
                retained: p.retain,
                repeat: false,
            }),
            Packet::ConnAck(ack) => {
                // Served its purpose (see `Blank`); from here on it would be asked at each acknowledgement.
                self.inner.options.clear_session_store();
                Event::Connected { resumed: ack.session_present }
            }
            Packet::SubAck(ack) => Event::Subscribed {
                refused: ack.return_codes.iter().filter(|c| !matches!(c, SubscribeReasonCode::Success(_))).count(),
            },
            _ => return,
        });
    }
}

impl Voice for V5Voice {
    fn acknowledge(&self, packet_id: u16) -> bool {
        self.client.try_manual_ack(ManualAck::PubAck(PubAck::new(packet_id, None))).is_ok()
    }

    fn subscribe(&self, filters: &[String]) {
        let filters = filters.iter().map(|f| SubscribeFilter {
            retain_forward_rule: RetainForwardRule::OnNewSubscribe,
            ..SubscribeFilter::new(f.as_str(), QoS::AtLeastOnce)
        });
        let _ = self.client.try_subscribe_many(filters);
    }

    fn leave(&self) {
        self.aside.leave();
        // Not `disconnect_now`: that would overtake the acknowledgements.
        let _ = self.client.try_disconnect();
    }
}

/// Says what our side of any session is: empty, for we publish nothing.
///
/// Without it the client takes a session that only the broker remembers (after our restart) for one of which it knows
/// nothing, and then refuses to subscribe: a new profile's topics would never be heard.
#[derive(Debug)]
struct Blank {
    client_id: String,
    expiry: u32,
}

type Answer<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

impl SessionStore for Blank {
    fn load<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: self.client_id.clone(),
            clean_start: false,
            session_expiry_interval: Some(self.expiry),
            outgoing_inflight_upper_limit: Some(PUBLISHES),
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: vec![],
            incoming_qos2: vec![],
        };
        Box::pin(std::future::ready(Ok(Some(session))))
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Answer<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn sort(error: &ConnectionError) -> SourceError {
    match error {
        ConnectionError::Io(e) => SourceError::from_io(e),
        ConnectionError::Timeout(_) => SourceError::Unreachable(std::io::ErrorKind::TimedOut),
        ConnectionError::ConnectionRefused(code) => refused(*code),
        ConnectionError::MqttState(e) => sort_state(e),
        ConnectionError::NotConnAck(_) => SourceError::Refused("it does not speak MQTT 5"),
        ConnectionError::SessionStateMismatch { .. } => {
            SourceError::Refused("it resumes a session that was not asked for")
        }
        _ => SourceError::Lost("ended"),
    }
}

fn refused(code: ConnectReturnCode) -> SourceError {
    use ConnectReturnCode as C;
    match code {
        C::BadUserNamePassword | C::BadAuthenticationMethod => SourceError::Credentials,
        C::NotAuthorized | C::Banned => SourceError::NotAuthorised,
        C::ServiceUnavailable | C::ServerUnavailable | C::ServerBusy | C::ConnectionRateExceeded => SourceError::Busy,
        C::RefusedProtocolVersion | C::UnsupportedProtocolVersion => SourceError::Refused("it does not speak MQTT 5"),
        C::BadClientId | C::ClientIdentifierNotValid => SourceError::Refused("it does not take our client id"),
        C::UseAnotherServer | C::ServerMoved => SourceError::Refused("it names another server"),
        C::QuotaExceeded => SourceError::Refused("our quota is used up"),
        _ => SourceError::Refused("it gives no usable reason"),
    }
}

fn sort_state(error: &StateError) -> SourceError {
    use DisconnectReasonCode as D;
    match error {
        StateError::Io(e) | StateError::Deserialization(rumqttc::Error::Io(e)) => SourceError::from_io(e),
        StateError::ServerDisconnect { reason_code, .. } => match reason_code {
            D::SessionTakenOver => SourceError::TakenOver,
            D::NotAuthorized => SourceError::NotAuthorised,
            D::ServerBusy | D::ServerShuttingDown | D::ConnectionRateExceeded => SourceError::Busy,
            D::KeepAliveTimeout => SourceError::Lost("we were silent too long"),
            _ => SourceError::Lost("closed by the broker"),
        },
        StateError::ConnFail { reason } => refused(*reason),
        StateError::Deserialization(rumqttc::Error::PayloadSizeLimitExceeded { .. }) => {
            SourceError::Packet("too large")
        }
        StateError::Deserialization(_) | StateError::ProtocolViolation(_) => SourceError::Packet("malformed"),
        StateError::AwaitPingResp => SourceError::Lost("the broker is silent"),
        StateError::ConnectionAborted => SourceError::Lost("closed"),
        _ => SourceError::Lost("out of step"),
    }
}
