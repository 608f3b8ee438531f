//! The page as a person uses it, in a browser window of a test's own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fantoccini::elements::Element;
use fantoccini::{Client, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::driver::{self, Driver};
use crate::fake::Fake;

/// How long something is waited for at most, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a whole test may take, the browser's start included.
const LONGEST: Duration = Duration::from_secs(180);

/// Runs `test` with a server and the page that it serves.
pub fn browse(test: impl AsyncFnOnce(Page)) {
    browse_with(Fake::start(), test);
}

/// As [`browse`], with a server of the test's own.
pub fn browse_with(server: impl Future<Output = Fake>, test: impl AsyncFnOnce(Page)) {
    let Some(driver) = driver::take() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let whole = async {
            let page = Page::open(&driver, server.await).await;
            test(page.clone()).await;
            page.assert_no_complaints().await;
        };
        let ended = tokio::time::timeout(LONGEST, whole).await;
        assert!(ended.is_ok(), "the test took more than {LONGEST:?}");
    });
    driver::put_back(driver);
}

/// The page in its browser, and the server behind it.
#[derive(Clone)]
pub struct Page {
    pub client: Client,
    pub server: Fake,
    pub downloads: PathBuf,
    session: String,
    driver: u16,
}

impl Page {
    /// A window of its own, and the server's port, keep it from what other tests have left.
    async fn open(driver: &Driver, server: Fake) -> Self {
        let address = format!("http://127.0.0.1:{}", driver.port);
        let mut connector = HttpConnector::new();
        // A command is two small writes; each would wait for the other's acknowledgement.
        connector.set_nodelay(true);
        let client = Client::with_existing_session(&address, &driver.session, connector);
        let client = client.await.expect("the driver has a session");
        // The session is the driver's to end.
        client.persist().await.unwrap();
        let window = client.new_window(true).await.unwrap();
        client.close_window().await.unwrap();
        client.switch_to_window(window.handle).await.unwrap();
        let downloads = driver
            .folder
            .path()
            .join(format!("downloads-{}", server.port));
        std::fs::create_dir(&downloads).unwrap();
        let page = Self {
            client,
            server,
            downloads,
            session: driver.session.clone(),
            driver: driver.port,
        };
        let behavior = json!({"behavior": "allow", "downloadPath": page.downloads});
        page.devtools("Browser.setDownloadBehavior", behavior).await;
        page.visit("").await;
        page
    }

    /// Goes to a path of the server and, on the page itself, waits until it can be used.
    pub async fn visit(&self, path: &str) {
        self.client
            .goto(&format!("{}{path}", self.server.url()))
            .await
            .unwrap();
        if path.is_empty() {
            self.until("document.querySelector('#bar .modes')").await;
        }
    }

    pub async fn reload(&self) {
        self.client.refresh().await.unwrap();
        self.until("document.querySelector('#bar .modes')").await;
    }

    /// A command of the browser's own protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.extension("goog/cdp/execute", body).await
    }

    /// A command that only this driver knows.
    async fn extension(&self, path: &str, body: Value) -> Value {
        let port = self.driver;
        let path = format!("session/{}/{path}", self.session);
        let command = move || driver::command(port, &path, &body);
        tokio::task::spawn_blocking(command).await.unwrap()
    }

    /// The value of an expression in the page.
    pub async fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.client
            .execute(&script, Vec::new())
            .await
            .unwrap_or_else(|error| {
                panic!("{expression}: {error}");
            })
    }

    pub async fn is(&self, expression: &str) -> bool {
        self.value(&format!("Boolean({expression})")).await == json!(true)
    }

    /// Waits until an expression in the page is true.
    #[track_caller]
    pub fn until(&self, expression: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let start = Instant::now();
            while !self.is(expression).await {
                if start.elapsed() > PATIENCE {
                    let text = self.value("document.body.innerText").await;
                    panic!(
                        "{caller}: not true in {PATIENCE:?}: {expression}\nthe page shows:\n{text}"
                    );
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    }

    /// The text of the only element of a selector; waits for it.
    #[track_caller]
    pub fn text(&self, selector: &str) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let element = self.element_for(selector, caller).await;
            element.text().await.unwrap()
        }
    }

    /// The first element of a selector; waits for it.
    #[track_caller]
    pub fn element(&self, selector: &str) -> impl Future<Output = Element> {
        let caller = std::panic::Location::caller();
        async move { self.element_for(selector, caller).await }
    }

    async fn element_for(&self, selector: &str, caller: &std::panic::Location<'_>) -> Element {
        let start = Instant::now();
        loop {
            if let Ok(element) = self.client.find(Locator::Css(selector)).await {
                return element;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{caller}: there is no {selector}"
            );
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Clicks as a person would: the element must be visible and nothing may lie over it.
    #[track_caller]
    pub fn click(&self, selector: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let start = Instant::now();
            loop {
                let element = self.element_for(selector, caller).await;
                // What is shown anew between finding and clicking is found again.
                match element.click().await {
                    Ok(()) => return,
                    Err(error) => {
                        assert!(start.elapsed() < PATIENCE, "{caller}: {selector}: {error}")
                    }
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
    }

    /// Types into the element that has the focus.
    pub async fn press(&self, keys: &str) {
        let element = self.client.active_element().await.unwrap();
        element.send_keys(keys).await.unwrap();
    }

    /// Types into an element.
    pub async fn enter(&self, selector: &str, text: &str) {
        self.element(selector).await.send_keys(text).await.unwrap();
    }

    /// Puts a text in the place of a field's.
    pub async fn replace(&self, selector: &str, text: &str) {
        let field = self.element(selector).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Chooses from a menu by value.
    pub async fn choose(&self, selector: &str, value: &str) {
        self.element(selector)
            .await
            .select_by_value(value)
            .await
            .unwrap();
    }

    /// Shows one model's answers.
    pub async fn one_model(&self) {
        self.click("[data-focus='mode:false']").await;
        self.until("document.querySelector(\"[data-focus='mode:false'][aria-pressed=true]\")")
            .await;
    }

    /// Asks by typing and Enter.
    pub async fn ask(&self, question: &str) {
        self.until("!document.querySelector('#composer button').disabled")
            .await;
        self.enter("#message", question).await;
        self.enter("#message", "\u{e007}").await;
    }

    /// Asks and waits for the end of all answers.
    pub async fn ask_and_wait(&self, question: &str) {
        let before = self.server.requests().len();
        self.ask(question).await;
        self.until_asked(before + 1).await;
        self.until_idle().await;
    }

    /// Waits until the server was asked `count` times in all.
    pub async fn until_asked(&self, count: usize) {
        let start = Instant::now();
        while self.server.requests().len() < count {
            assert!(
                start.elapsed() < PATIENCE,
                "the server was not asked {count} times"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until no answer is being written.
    #[track_caller]
    pub fn until_idle(&self) -> impl Future<Output = ()> {
        self.until("!document.querySelector('[aria-busy=true]') && document.querySelector('#composer [data-state=send]')")
    }

    /// The texts of the answers that are shown, in their order.
    pub async fn answers(&self) -> Vec<String> {
        let texts = self
            .value("[...document.querySelectorAll('.answer .prose')].map((prose) => prose.innerText.trim())")
            .await;
        serde_json::from_value(texts).unwrap()
    }

    /// The questions that are shown, in their order.
    pub async fn questions(&self) -> Vec<String> {
        let texts = self
            .value("[...document.querySelectorAll('.bubble')].map((bubble) => bubble.textContent)")
            .await;
        serde_json::from_value(texts).unwrap()
    }

    /// A window of another size, as a phone has it.
    pub async fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        self.until(&format!("innerWidth === {width}")).await;
    }

    /// Whether nothing lies beyond the window's sides.
    pub async fn assert_fits(&self) {
        let beyond = self
            .value(
                "[...document.querySelectorAll('body *')].filter((element) => element.checkVisibility() \
                 && !element.closest('.unseen, .skip, pre, .table, .list') \
                 && element.getBoundingClientRect().right > innerWidth + 0.5).map((element) => element.outerHTML.slice(0, 120))",
            )
            .await;
        assert_eq!(beyond, json!([]));
        assert!(
            self.is("document.scrollingElement.scrollWidth <= innerWidth")
                .await
        );
    }

    /// Keeps a picture of the page for people to look at.
    pub async fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
        std::fs::create_dir_all(&folder).unwrap();
        let picture = self.client.screenshot().await.unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// Waits until the server has noticed that the page left `count` streams in all.
    pub async fn until_left(&self, count: usize) {
        let start = Instant::now();
        while self.server.left() < count {
            assert!(
                start.elapsed() < PATIENCE,
                "the server does not notice that nobody listens"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Takes note of the complaints so far, which a test asked for.
    pub async fn forget_complaints(&self) {
        self.extension("se/log", json!({"type": "browser"})).await;
    }

    /// The page had no error of its own and broke no rule of its policy. Answers of the server that are errors are
    /// the browser's to report, too, and none of the page's fault.
    async fn assert_no_complaints(&self) {
        let log = self.extension("se/log", json!({"type": "browser"})).await;
        let complaints: Vec<&Value> = log
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] == "SEVERE" && entry["source"] != "network")
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}
