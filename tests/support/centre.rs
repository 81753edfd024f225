//! What a centre keeps: resources put and deleted at a FHIR server, the lab's or another one.

use serde_json::Value;

use super::PATIENCE;

fn client(url: &str) -> reqwest::Client {
    wardline::sink::http::Peer::new(url, wardline::tls::Files::default(), PATIENCE).unwrap().client
}

/// Stores a resource under its own id.
pub async fn put(url: &str, resource: &Value) {
    let (kind, id) = (resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    let request = client(url).put(format!("{url}/{kind}/{id}"));
    let request = request.header("content-type", "application/fhir+json").body(resource.to_string());
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// Removes one: `Goal/g1`.
pub async fn delete(url: &str, path: &str) {
    assert!(client(url).delete(format!("{url}/{path}")).send().await.unwrap().status().is_success());
}
