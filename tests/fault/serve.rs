//! One request after the other, and what the rules make of its answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::content::Content;
use super::exchange::{Ending, Exchange, Seen};
use super::rule::{Fault, Length, RangeLie, Rule};
use super::tokens::Tokens;
use super::wire::{self, Reply};

/// Where honest answers come from.
pub(super) enum Source {
    Content(Box<dyn Fn(&Seen) -> Content + Send + Sync>),
    Upstream(String),
}

/// Which of the two addresses a connection came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    Main,
    Storage,
}

/// What all connections share.
pub(super) struct Shared {
    source: Source,
    address: String,
    storage: String,
    began: Instant,
    pub(super) rules: Mutex<Vec<Rule>>,
    pub(super) tokens: Mutex<Tokens>,
    pub(super) exchanges: Mutex<Vec<Exchange>>,
    pub(super) connections: Mutex<u64>,
    /// How often each signed address may still be used.
    signatures: Mutex<HashMap<u64, u64>>,
}

impl Shared {
    pub(super) fn new(source: Source, address: SocketAddr, storage: SocketAddr) -> Self {
        Self {
            source,
            address: address.to_string(),
            storage: storage.to_string(),
            began: Instant::now(),
            rules: Mutex::default(),
            tokens: Mutex::default(),
            exchanges: Mutex::default(),
            connections: Mutex::default(),
            signatures: Mutex::default(),
        }
    }
}

/// Accepts connections for ever.
pub(super) async fn accept(listener: TcpListener, door: Door, shared: &Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let number = {
            let mut accepted = shared.connections.lock().unwrap();
            *accepted += 1;
            *accepted
        };
        let _ = stream.set_nodelay(true);
        let connection = Connection {
            reader: BufReader::new(stream),
            number,
            door,
            shared: shared.clone(),
        };
        connections.spawn(connection.serve());
        while connections.try_join_next().is_some() {}
    }
}

struct Connection {
    reader: BufReader<TcpStream>,
    number: u64,
    door: Door,
    shared: Arc<Shared>,
}

/// What the rules say of one request.
#[derive(Default)]
struct Orders {
    answer: Option<Content>,
    corrupt: Option<u64>,
    cut: Option<(u64, Cut)>,
    delay: Duration,
    forget: bool,
    headers: Vec<(String, String)>,
    length: Option<Length>,
    presign: Option<u64>,
    range: Option<RangeLie>,
    silent: bool,
    hang_up: bool,
    rate: Option<u64>,
}

/// How a body ends before its end.
#[derive(Clone, Copy)]
enum Cut {
    Close,
    Reset,
    Stall,
}

impl Connection {
    async fn serve(mut self) {
        while let Some(request) = wire::read(&mut self.reader).await {
            let met = {
                let mut rules = self.shared.rules.lock().unwrap();
                let meet = |rule: &mut Rule| rule.meet(&request, self.number);
                rules.iter_mut().flat_map(meet).collect::<Vec<_>>()
            };
            let entry = {
                let mut exchanges = self.shared.exchanges.lock().unwrap();
                exchanges.push(Exchange {
                    at: self.shared.began.elapsed(),
                    connection: self.number,
                    storage: self.door == Door::Storage,
                    request: request.clone(),
                    status: None,
                    sent: 0,
                    ending: None,
                });
                exchanges.len() - 1
            };
            let ending = self.exchange(request, Orders::of(met), entry).await;
            let keep = ending == Some(Ending::Complete);
            self.log(entry, |exchange| {
                exchange.ending = ending.or(Some(Ending::Complete));
            });
            if !keep {
                return;
            }
        }
    }

    /// Answers one request; nothing says that all went well and the connection ends with it.
    async fn exchange(&mut self, request: Seen, orders: Orders, entry: usize) -> Option<Ending> {
        if orders.forget {
            self.shared.tokens.lock().unwrap().forget();
        }
        if orders.hang_up {
            return Some(Ending::Cut);
        }
        if orders.silent {
            wire::gone(&mut self.reader).await;
            return Some(Ending::Gone);
        }
        sleep(orders.delay).await;
        let is_head = request.method == "HEAD";
        let mut reply = self.reply(request, &orders).await;
        for (name, value) in &orders.headers {
            reply.set(name, value.clone());
        }
        let honest = reply.length;
        match orders.length {
            Some(Length::Missing) => reply.length = None,
            Some(Length::Wrong(length)) => reply.length = Some(length),
            None => (),
        }
        let framed = is_head || (reply.length.is_some() && reply.length == honest);
        let head = reply.head(framed);
        // What a client has seen is in the log: all is written there before it is sent.
        self.log(entry, |exchange| {
            exchange.status = Some(reply.status);
            exchange.ending = (is_head || honest == Some(0)).then_some(Ending::Complete);
        });
        let stream = self.reader.get_mut();
        if stream.write_all(head.as_bytes()).await.is_err() {
            return Some(Ending::Gone);
        }
        if is_head {
            return Some(Ending::Complete);
        }
        match self.body(reply, honest, &orders, entry).await {
            Some(ending) => Some(ending),
            None => framed.then_some(Ending::Complete),
        }
    }

    /// Returns the answer, lies about ranges included.
    async fn reply(&self, mut request: Seen, orders: &Orders) -> Reply {
        if let Some(content) = &orders.answer {
            return content.clone().into();
        }
        match self.door {
            Door::Main => {
                let mut tokens = self.shared.tokens.lock().unwrap();
                if let Some(content) = tokens.answer(&request, &self.shared.address) {
                    return content.into();
                }
            }
            Door::Storage => match self.redeem(&request) {
                Some(target) => request.target = target,
                None => return Content::new(403, EXPIRED).into(),
            },
        }
        if let Some(uses) = orders.presign {
            return self.presign(&request, uses).into();
        }
        let ranged = request.header("range").is_some();
        let lie = orders.range.filter(|_| ranged);
        match lie {
            Some(RangeLie::Status(status)) => return Content::new(status, "").into(),
            Some(RangeLie::Whole) => request
                .headers
                .retain(|(name, _)| !name.eq_ignore_ascii_case("range")),
            Some(RangeLie::Offset(by)) => {
                for (name, value) in &mut request.headers {
                    if name.eq_ignore_ascii_case("range") {
                        *value = shifted(value, by);
                    }
                }
            }
            _ => (),
        }
        let mut reply = match &self.shared.source {
            Source::Content(content) => content(&request).in_range(&request).into(),
            Source::Upstream(upstream) => match wire::ask(upstream, &request).await {
                Ok(reply) => reply,
                Err(error) => Content::new(502, error.to_string()).into(),
            },
        };
        if let Some((start, end, total)) = reply.header("content-range").and_then(content_range) {
            match lie {
                Some(RangeLie::Short(by)) => {
                    let end = end.saturating_sub(by).max(start);
                    reply.length = Some(end - start + 1);
                    reply.set("Content-Range", format!("bytes {start}-{end}/{total}"));
                }
                Some(RangeLie::Total(total)) => {
                    reply.set("Content-Range", format!("bytes {start}-{end}/{total}"));
                }
                Some(RangeLie::Unlabelled) => reply.remove("content-range"),
                _ => (),
            }
        }
        reply
    }

    /// Sends a body; says how it ended if that was not its end.
    async fn body(
        &mut self,
        mut reply: Reply,
        honest: Option<u64>,
        orders: &Orders,
        entry: usize,
    ) -> Option<Ending> {
        let start = reply.header("content-range").and_then(content_range);
        let start = start.map_or(0, |(start, ..)| start);
        let part = orders.rate.map_or(LARGEST_PART, |rate| {
            (rate * PART_EVERY.as_millis() as u64 / 1000).clamp(1, LARGEST_PART)
        });
        let mut sent = 0;
        let mut due = Instant::now();
        loop {
            let mut most = part.min(honest.map_or(u64::MAX, |length| length - sent));
            if let Some((after, cut)) = orders.cut
                && honest.is_none_or(|length| after < length)
            {
                if sent == after {
                    return Some(self.cut(cut).await);
                }
                most = most.min(after - sent);
            }
            if most == 0 {
                return None;
            }
            let Ok(bytes) = reply.body.next(most as usize).await else {
                return Some(Ending::Cut);
            };
            if bytes.is_empty() {
                // What was announced and did not come is a fault of the server behind.
                return honest.filter(|length| sent < *length).map(|_| Ending::Cut);
            }
            let mut bytes = bytes.to_vec();
            let corrupt = orders.corrupt.and_then(|at| at.checked_sub(start + sent));
            if let Some(byte) = corrupt.and_then(|at| bytes.get_mut(at as usize)) {
                *byte ^= 1;
            }
            sent += bytes.len() as u64;
            self.log(entry, |exchange| {
                exchange.sent = sent;
                exchange.ending = (honest == Some(sent)).then_some(Ending::Complete);
            });
            if self.reader.get_mut().write_all(&bytes).await.is_err() {
                return Some(Ending::Gone);
            }
            if let Some(rate) = orders.rate {
                due += Duration::from_secs_f64(bytes.len() as f64 / rate.max(1) as f64);
                sleep_until(due).await;
            }
        }
    }

    async fn cut(&mut self, cut: Cut) -> Ending {
        match cut {
            // The connection is dropped once this is in the log.
            Cut::Close => Ending::Cut,
            Cut::Reset => {
                let _ = self.reader.get_mut().set_zero_linger();
                Ending::Cut
            }
            Cut::Stall => {
                wire::gone(&mut self.reader).await;
                Ending::Gone
            }
        }
    }

    fn presign(&self, request: &Seen, uses: u64) -> Content {
        let mut signatures = self.shared.signatures.lock().unwrap();
        let number = signatures.len() as u64 + 1;
        signatures.insert(number, uses);
        let location = format!(
            "http://{}/signed{}?signature={number}",
            self.shared.storage,
            request.path()
        );
        Content::new(307, "").header("Location", &location)
    }

    /// Returns what a signed address stands for, if it is still good.
    fn redeem(&self, request: &Seen) -> Option<String> {
        let (path, number) = request.target.split_once("?signature=")?;
        let mut signatures = self.shared.signatures.lock().unwrap();
        let left = signatures.get_mut(&number.parse().ok()?)?;
        *left = left.checked_sub(1)?;
        path.strip_prefix("/signed").map(str::to_owned)
    }

    fn log(&self, entry: usize, change: impl FnOnce(&mut Exchange)) {
        change(&mut self.shared.exchanges.lock().unwrap()[entry]);
    }
}

impl Orders {
    fn of(faults: Vec<Fault>) -> Self {
        let mut orders = Self::default();
        for fault in faults {
            match fault {
                Fault::Answer {
                    status,
                    headers,
                    body,
                } => {
                    let mut content = Content::new(status, body);
                    content.headers = headers;
                    orders.answer = Some(content);
                }
                Fault::Close { after } => orders.cut = Some((after, Cut::Close)),
                Fault::Corrupt { at } => orders.corrupt = Some(at),
                Fault::Delay(delay) => orders.delay += delay,
                Fault::ForgetTokens => orders.forget = true,
                Fault::HangUp => orders.hang_up = true,
                Fault::Header { name, value } => orders.headers.push((name, value)),
                Fault::Length(length) => orders.length = Some(length),
                Fault::Presign { uses } => orders.presign = Some(uses),
                Fault::Range(lie) => orders.range = Some(lie),
                Fault::Reset { after } => orders.cut = Some((after, Cut::Reset)),
                Fault::Silence => orders.silent = true,
                Fault::Stall { after } => orders.cut = Some((after, Cut::Stall)),
                Fault::Throttle { bytes_per_second } => orders.rate = Some(bytes_per_second),
            }
        }
        orders
    }
}

const EXPIRED: &str =
    "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
const LARGEST_PART: u64 = 64 << 10;
/// How often a throttled connection sends.
const PART_EVERY: Duration = Duration::from_millis(20);

/// Reads `bytes FIRST-LAST/TOTAL`.
fn content_range(value: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, total.parse().ok()?))
}

/// Moves both ends of a `Range`.
fn shifted(range: &str, by: i64) -> String {
    let ends = range
        .strip_prefix("bytes=")
        .and_then(|it| it.split_once('-'));
    let Some((first, last)) = ends else {
        return range.to_owned();
    };
    let moved = |end: &str| match end.parse::<u64>() {
        Ok(end) => end.saturating_add_signed(by).to_string(),
        Err(_) => String::new(),
    };
    format!("bytes={}-{}", moved(first), moved(last))
}
