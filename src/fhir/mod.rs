//! Reading or alert to FHIR R4 resources; pure, one file per resource. Serialised straight from the reading: decimals stay exact.
