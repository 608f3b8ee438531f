//! The page's modules that need no page, tested where they run.

use serde_json::Value;

use crate::browser::browse;

#[test]
fn modules_do_what_they_say() {
    browse(async |page| {
        page.visit("units").await;
        page.until("window.results").await;
        let results = page.value("window.results").await;
        let results = results.as_array().unwrap();
        // An empty list would have no failures either.
        assert!(results.len() > 50, "{} tests ran", results.len());
        let failed: Vec<&Value> = results
            .iter()
            .filter(|result| !result["error"].is_null())
            .collect();
        assert!(failed.is_empty(), "{failed:#?}");
    });
}
