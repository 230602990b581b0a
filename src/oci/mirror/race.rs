//! One after the other, each with a head start before the next: whoever delivers first wins.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

/// What came of one that was asked.
pub(super) enum Came<S, T, E> {
    /// It delivered, before these that had been asked earlier.
    Gave(S, T, Vec<S>),
    /// It failed.
    Failed(S, E),
}

/// Asks each in turn: the next when one fails, or when the last one that was asked has had `start` for
/// itself. Tells `failed` of each failure. Returns who delivered first, what, and who was asked before
/// and has not; or nothing if all failed.
///
/// Those that lose are dropped, and with them their connections.
pub(super) async fn race<S, T, E, F>(
    all: Vec<S>,
    ask: impl Fn(S) -> F,
    start: impl Fn(&S, Duration) -> Option<Duration>,
    mut failed: impl FnMut(&S, E),
) -> Option<(S, T, Vec<S>)>
where
    S: Clone + PartialEq,
    F: Future<Output = Result<T, E>>,
{
    let mut left = all.into_iter().peekable();
    let mut running = FuturesUnordered::new();
    let mut asked: Vec<S> = Vec::new();
    loop {
        let Some(next) = left.next() else {
            // Nobody else is there to be asked.
            while let Some((server, done)) = running.next().await {
                match came(server, done, &mut asked) {
                    Came::Gave(server, value, late) => return Some((server, value, late)),
                    Came::Failed(server, error) => failed(&server, error),
                }
            }
            return None;
        };
        let begun = Instant::now();
        asked.push(next.clone());
        // Several of them side by side would make a future that no stack holds.
        let question = Box::pin(ask(next.clone()));
        let answering = next.clone();
        running.push(async move { (answering, question.await) });
        if left.peek().is_none() {
            continue;
        }
        loop {
            let wait = async {
                // It may earn a longer start while it runs.
                let mut waited = Duration::ZERO;
                while let Some(more) = start(&next, waited) {
                    waited += more;
                    sleep_until(begun + waited).await;
                }
            };
            tokio::select! {
                biased;
                done = running.next() => match done {
                    Some((server, done)) => match came(server, done, &mut asked) {
                        Came::Gave(server, value, late) => return Some((server, value, late)),
                        Came::Failed(server, error) => {
                            failed(&server, error);
                            // The others go on; the next one need not wait for the last one's start.
                            if server == next {
                                break;
                            }
                        }
                    },
                    None => break,
                },
                () = wait => break,
            }
        }
    }
}

fn came<S: Clone + PartialEq, T, E>(
    server: S,
    done: Result<T, E>,
    asked: &mut Vec<S>,
) -> Came<S, T, E> {
    match done {
        Ok(value) => {
            let before = asked.iter().take_while(|it| **it != server);
            let late = before.cloned().collect();
            Came::Gave(server, value, late)
        }
        Err(error) => {
            asked.retain(|it| *it != server);
            Came::Failed(server, error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks servers that take so many milliseconds and then succeed or not; returns who won, after how
    /// long, who was late, and who failed.
    async fn run(
        servers: &[(u64, bool)],
        long: bool,
    ) -> (Option<usize>, u64, Vec<usize>, Vec<usize>) {
        let begun = Instant::now();
        let mut failures = Vec::new();
        let start = |_: &usize, waited: Duration| match (waited.as_millis(), long) {
            (0, _) => Some(Duration::from_millis(300)),
            (300, true) => Some(Duration::from_millis(1700)),
            _ => None,
        };
        let ask = |server: usize| async move {
            let (takes, good) = servers[server];
            tokio::time::sleep(Duration::from_millis(takes)).await;
            if good { Ok(()) } else { Err(server) }
        };
        let all = (0..servers.len()).collect();
        let won = race(all, ask, start, |_, error: usize| failures.push(error)).await;
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
        let (winner, late) = won.map_or((None, Vec::new()), |(won, (), late)| (Some(won), late));
        (winner, took, late, failures)
    }

    const NEVER: u64 = 1_000_000;

    #[tokio::test(start_paused = true)]
    async fn the_first_in_the_order_is_alone_if_it_is_quick() {
        let done = run(&[(299, true), (0, true)], false).await;
        assert_eq!(done, (Some(0), 299, vec![], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_one_costs_its_start() {
        let done = run(&[(NEVER, true), (20, true)], false).await;
        assert_eq!(done, (Some(1), 320, vec![0], vec![]));
        let done = run(&[(NEVER, true), (NEVER, true), (20, true)], false).await;
        assert_eq!(done, (Some(2), 620, vec![0, 1], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_known_gets_a_longer_start() {
        let done = run(&[(1500, true), (0, true)], true).await;
        assert_eq!(done, (Some(0), 1500, vec![], vec![]));
        let done = run(&[(NEVER, true), (0, true)], true).await;
        assert_eq!(done, (Some(1), 2000, vec![0], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_passes_the_question_on_at_once() {
        let done = run(&[(10, false), (20, false), (5, true)], false).await;
        assert_eq!(done, (Some(2), 35, vec![], vec![0, 1]));
        let done = run(&[(10, false), (20, false)], false).await;
        assert_eq!(done, (None, 30, vec![], vec![0, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_one_can_still_win() {
        let done = run(&[(400, true), (200, true)], false).await;
        assert_eq!(done, (Some(0), 400, vec![], vec![]));
        // And whoever it was asked beside may fail meanwhile.
        let done = run(&[(900, true), (100, false)], false).await;
        assert_eq!(done, (Some(0), 900, vec![], vec![1]));
    }
}
