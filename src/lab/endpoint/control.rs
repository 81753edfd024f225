//! The endpoint's other port: its counts, and its manners to be changed while it runs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};

use super::{Counts, Endpoint, Manners};

/// `GET /counts`, `GET /manners`, and `PUT /manners` with the ones to change.
pub fn router(endpoint: Arc<Endpoint>) -> Router {
    Router::new().route("/counts", get(counts)).route("/manners", get(manners).put(behave)).with_state(endpoint)
}

async fn counts(State(endpoint): State<Arc<Endpoint>>) -> Json<Counts> {
    Json(endpoint.counts())
}

async fn manners(State(endpoint): State<Arc<Endpoint>>) -> Json<Manners> {
    Json(endpoint.manners())
}

async fn behave(
    State(endpoint): State<Arc<Endpoint>>,
    Json(changes): Json<serde_json::Map<String, serde_json::Value>>,
) -> impl IntoResponse {
    let mut all = serde_json::to_value(endpoint.manners()).unwrap_or_default();
    if let Some(all) = all.as_object_mut() {
        all.extend(changes);
    }
    match serde_json::from_value::<Manners>(all) {
        Ok(manners) => {
            endpoint.behave(manners);
            Ok(Json(manners))
        }
        Err(e) => Err((StatusCode::BAD_REQUEST, e.to_string())),
    }
}
