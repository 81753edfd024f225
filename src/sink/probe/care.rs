//! Reads what a centre orders for one patient, page by page: Goals, ServiceRequests, CarePlans; and Consents.
//!
//! Promises: reads only, below the configured base only, within the destination's stated rate, with an end in pages. Must
//! never: take a part of an answer for all of it.

use reqwest::Url;

use super::Prober;
use super::shelf::below;
use crate::fhir::inbound::{self, Heard};
use crate::limits::CARE_PAGES_MAX;
use crate::reading::PatientId;
use crate::sink::answer::{Whole, whole};
use crate::sink::why::Trouble;

/// What can be ordered.
pub const KINDS: [&str; 3] = ["Goal", "ServiceRequest", "CarePlan"];

impl Prober {
    /// All resources of a type of a patient that changed since then. `None`: the destination does not search for such, and says
    /// so at once: what it says of a later page is about that page.
    pub async fn ordered(
        &self,
        kind: &'static str,
        patient: &PatientId,
        since_ms: Option<i64>,
    ) -> Result<Option<Vec<Heard>>, Trouble> {
        let (mut next, mut all) = (Some(self.question(kind, patient, since_ms)?), Vec::new());
        for n in 0..CARE_PAGES_MAX {
            let Some(url) = next.take() else { return Ok(Some(all)) };
            self.sink.turn().await;
            let answer = self.sink.get(url.as_str()).await?;
            match whole(&answer) {
                Whole::Taken => {}
                _ if n == 0 && matches!(answer.status, 400 | 404 | 405 | 422 | 501) => return Ok(None),
                Whole::Destination(trouble) => return Err(trouble),
                _ => return Err(Trouble::Unclear("it does not show what it orders")),
            }
            let page = inbound::page(&answer.body, kind).map_err(Trouble::Unclear)?;
            all.extend(page.heard);
            if let Some(link) = page.next {
                let own = page.own.as_deref().and_then(|own| Url::parse(own).ok());
                let at = below(self.sink.peer.url.as_str(), kind, &link, own.as_ref(), &url);
                next = Some(at.map_err(|_| Trouble::Unclear("its next page is at another address"))?);
            }
        }
        match next {
            None => Ok(Some(all)),
            Some(_) => Err(Trouble::Unclear("there is more than is read in one go")),
        }
    }

    fn question(&self, kind: &str, patient: &PatientId, since_ms: Option<i64>) -> Result<Url, Trouble> {
        let base = self.sink.peer.below(kind);
        let mut url = Url::parse(&base).map_err(|_| Trouble::Unclear("its URL cannot be searched"))?;
        let since = since_ms.and_then(|ms| jiff::Timestamp::from_second(ms.div_euclid(1_000)).ok());
        let mut query = url.query_pairs_mut();
        query.append_pair("patient", patient.reveal());
        if let Some(since) = since {
            query.append_pair("_lastUpdated", &format!("ge{since}"));
        }
        query.append_pair("_count", "50");
        drop(query);
        Ok(url)
    }

    /// One resource as it is now. `None`: it is gone.
    pub async fn order(&self, resource: &str) -> Result<Option<Heard>, Trouble> {
        let kind = KINDS.into_iter().chain(["Consent"]).find(|kind| resource.split('/').next() == Some(kind));
        let kind = kind.ok_or(Trouble::Unclear("it is no order"))?;
        self.sink.turn().await;
        let answer = self.sink.look(resource).await?;
        match (answer.status, whole(&answer)) {
            (404 | 410, _) if super::patient::is_outcome(&answer.body) => Ok(None),
            (_, Whole::Taken) => inbound::resource(&answer.body, kind).map(Some).map_err(Trouble::Unclear),
            (_, Whole::Destination(trouble)) => Err(trouble),
            _ => Err(Trouble::Unclear("it does not show what it orders")),
        }
    }
}
