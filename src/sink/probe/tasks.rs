//! Reads how the Tasks of alerts stand at the centre, page by page.
//!
//! Promises: reads only, below the configured base only, within the destination's stated rate, with an end in pages. Must
//! never: take a part of an answer for all of it.

use reqwest::Url;

use super::Prober;
use super::shelf::below;
use crate::alarm::AlertId;
use crate::fhir::inbound::Unclear;
use crate::fhir::task_returned::{Task, question, tasks};
use crate::limits::TASK_PAGES_MAX;
use crate::sink::answer::{Whole, whole};
use crate::sink::why::Trouble;

impl Prober {
    /// The Tasks of these alerts as far as the centre has them, and why one is not understood.
    pub async fn tasks(&self, alerts: &[AlertId]) -> Result<Vec<Result<Task, Unclear>>, Trouble> {
        let url = Url::parse(&self.sink.peer.below(&question(alerts)));
        let mut next = Some(url.map_err(|_| Trouble::Unclear("its URL cannot be searched"))?);
        let mut all = Vec::new();
        for _ in 0..TASK_PAGES_MAX {
            let Some(url) = next.take() else { return Ok(all) };
            self.sink.turn().await;
            let answer = self.sink.get(url.as_str()).await?;
            match whole(&answer) {
                Whole::Taken => {}
                Whole::Destination(trouble) => return Err(trouble),
                _ => return Err(Trouble::Unclear("it does not search for Tasks by their identifiers")),
            }
            let page = tasks(&answer.body).map_err(Trouble::Unclear)?;
            all.extend(page.tasks);
            if let Some(link) = page.next {
                let own = page.own.as_deref().and_then(|own| Url::parse(own).ok());
                let at = below(self.sink.peer.url.as_str(), "Task", &link, own.as_ref(), &url);
                next = Some(at.map_err(|_| Trouble::Unclear("its next page is at another address"))?);
            }
        }
        match next {
            None => Ok(all),
            Some(_) => Err(Trouble::Unclear("there is more than is read in one go")),
        }
    }
}
