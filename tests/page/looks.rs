//! Languages, light and dark, and windows from a phone's to a desk's.

use serde_json::json;

use crate::browser::{Page, browse};

#[test]
fn the_page_speaks_the_browsers_language_and_another() {
    browse(async |page| {
        let agent = page.value("navigator.userAgent").await;
        page.devtools(
            "Emulation.setUserAgentOverride",
            json!({"userAgent": agent, "acceptLanguage": "zh-CN"}),
        )
        .await;
        page.reload().await;
        page.until("document.querySelector('.welcome')").await;
        assert_eq!(page.text(".welcome h1").await, "一个问题，两个回答");
        assert_eq!(page.value("document.documentElement.lang").await, "zh-CN");
        page.ask_and_wait("衣服签收后能退吗？").await;
        page.picture("chinese").await;
        page.choose("#language", "en").await;
        page.until("document.querySelector('.modes').innerText.includes('Side by side')")
            .await;
        assert_eq!(page.value("document.documentElement.lang").await, "en");
        // What was chosen outlasts the page.
        page.reload().await;
        page.until("document.querySelector('.modes').innerText.includes('Side by side')")
            .await;
        page.choose("#language", "zh").await;
        page.until("document.querySelector('.modes').innerText.includes('并排对比')")
            .await;
        let facts = page.text(".answer .facts").await;
        assert!(facts.contains("42 个词元"), "{facts}");
    });
}

#[test]
fn dark_follows_the_system_until_chosen() {
    browse(async |page| {
        let ground = "getComputedStyle(document.querySelector('main')).backgroundColor";
        let (light, dark) = (json!("rgb(255, 255, 255)"), json!("rgb(27, 31, 30)"));
        prefer(&page, "light").await;
        assert_eq!(page.value(ground).await, light);
        prefer(&page, "dark").await;
        assert_eq!(page.value(ground).await, dark);
        page.ask_and_wait("Can I get a refund for a parcel that I have opened?")
            .await;
        page.picture("dark").await;
        page.choose("#theme", "light").await;
        assert_eq!(page.value(ground).await, light);
        page.picture("light").await;
        page.reload().await;
        assert_eq!(page.value(ground).await, light);
        prefer(&page, "light").await;
        page.choose("#theme", "dark").await;
        assert_eq!(page.value(ground).await, dark);
        page.choose("#theme", "auto").await;
        assert_eq!(page.value(ground).await, light);
    });
}

async fn prefer(page: &Page, scheme: &str) {
    let features = json!([
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]);
    page.devtools(
        "Emulation.setEmulatedMedia",
        json!({ "features": features }),
    )
    .await;
}

#[test]
fn reduced_motion_moves_nothing() {
    browse(async |page| {
        prefer(&page, "light").await;
        page.ask("for ever").await;
        page.until("document.querySelector('[data-state=writing]')")
            .await;
        assert_eq!(page.value("document.getAnimations().length").await, 0);
        page.press("\u{e00c}").await;
        page.until_idle().await;
    });
}

#[test]
fn a_phone_has_room_for_everything() {
    browse(async |page| {
        page.resize(360, 740).await;
        page.until("document.querySelector('.welcome')").await;
        page.assert_fits().await;
        page.picture("phone-welcome").await;
        page.ask_and_wait("Can I get a refund for a parcel that I have opened?")
            .await;
        page.assert_fits().await;
        // Columns stand below each other.
        let tops = "[...document.querySelectorAll('.answer')].map((answer) => answer.getBoundingClientRect().top)";
        let tops = page.value(tops).await;
        assert!(tops[0].as_f64() < tops[1].as_f64());
        page.ask_and_wait("showcase").await;
        page.assert_fits().await;
        page.picture("phone").await;

        // A side lies over the page, holds the focus, and gives it back.
        page.click("[aria-controls=sidebar]").await;
        page.until("!document.getElementById('sidebar').hidden")
            .await;
        assert!(page.is("document.getElementById('main').inert").await);
        assert!(
            page.is("document.getElementById('sidebar').contains(document.activeElement)")
                .await
        );
        page.assert_fits().await;
        page.picture("phone-conversations").await;
        page.press("\u{e00c}").await;
        page.until("document.getElementById('sidebar').hidden")
            .await;
        assert_eq!(
            page.value("document.activeElement.getAttribute('aria-controls')")
                .await,
            "sidebar"
        );
        page.click("[aria-controls=panel]").await;
        page.until("!document.getElementById('panel').hidden").await;
        page.assert_fits().await;
        page.picture("phone-settings").await;
    });
}

#[test]
fn every_width_is_used() {
    browse(async |page| {
        page.one_model().await;
        page.ask_and_wait("showcase").await;
        for width in [600, 768, 1024, 1440, 2560] {
            page.resize(width, 900).await;
            page.assert_fits().await;
        }
        page.resize(1100, 1250).await;
        page.picture("showcase").await;
        // Text is told from its ground, in both schemes.
        for scheme in ["light", "dark"] {
            prefer(&page, scheme).await;
            let faint = page.value(FAINT).await;
            assert_eq!(faint, json!([]), "{scheme}");
        }
    });
}

/// Texts whose contrast with their ground is below 4.5 to 1, as the WCAG count it.
const FAINT: &str = r"(() => {
  const parse = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || !element.checkVisibility() || element.closest('.unseen, .skip, :disabled')) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push([element.outerHTML.slice(0, 100), contrast]);
  }
  return faint;
})()";
