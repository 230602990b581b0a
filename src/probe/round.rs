//! One round of a gate: every probe asked once, at the same time, and the control probe with them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::Probe;
use super::answer::Answer;
use crate::gate::{Round, Sample};
use crate::net;

/// What a round found, for the gate and for the report.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The round as the gate takes it.
    pub round: Round,
    /// The answers by probe, without those that the deadline cut off.
    pub answers: Vec<(String, Answer)>,
    /// The control probe's answer, unless there is no such probe or the deadline cut it off.
    pub control: Option<Answer>,
}

/// Asks every probe once. What has not answered when the gate's time is over is left out.
///
/// `gate_began` and `within` are the gate's begin and its deadline after it.
pub async fn ask_all(
    probes: &BTreeMap<String, Probe>,
    control: Option<&Probe>,
    client: &net::Client,
    gate_began: Instant,
    within: Duration,
) -> Asked {
    let deadline = gate_began.checked_add(within);
    let now = || gate_began.elapsed().min(within);
    let began = now();
    let samples = join_all(probes.iter().map(|(name, probe)| async move {
        let answer = in_time(probe, client, deadline).await?;
        let sample = Sample {
            probe: name.clone(),
            at: gate_began.elapsed().min(within),
            value: answer.value.clone(),
        };
        Some((sample, (name.clone(), answer)))
    }));
    let control = async {
        match control {
            Some(probe) => in_time(probe, client, deadline).await,
            None => None,
        }
    };
    let (samples, control) = tokio::join!(samples, control);
    let (samples, answers) = samples.into_iter().flatten().unzip();
    let round = Round {
        began,
        ended: now(),
        samples,
        control: control.as_ref().map(|answer| answer.value.clone()),
    };
    Asked {
        round,
        answers,
        control,
    }
}

/// Asks, unless the deadline comes first. No deadline is one too far away to be a moment.
async fn in_time(probe: &Probe, client: &net::Client, deadline: Option<Instant>) -> Option<Answer> {
    match deadline {
        Some(deadline) => timeout_at(deadline, probe.ask(client)).await.ok(),
        None => Some(probe.ask(client).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Value;
    use crate::probe::testing::{self, client};
    use crate::probe::{HttpProbe, HttpSettings};

    fn tcp(address: std::net::SocketAddr) -> Probe {
        Probe::Tcp(address.to_string().parse().unwrap())
    }

    #[tokio::test]
    async fn all_are_asked_at_once_and_the_deadline_cuts_off() {
        let open = testing::listening().await;
        let closed = testing::closed().await;
        // It accepts and never answers.
        let silent = HttpSettings::get(format!("http://{open}/").parse().unwrap());
        let silent = Probe::Http(Box::new(HttpProbe::try_new(silent).unwrap()));
        assert_eq!(silent.endpoints(), [("127.0.0.1".to_owned(), open.port())]);
        let probes = [
            ("closed".to_owned(), tcp(closed)),
            ("open".to_owned(), tcp(open)),
            ("silent".to_owned(), silent.clone()),
        ]
        .into();
        let within = Duration::from_millis(45);
        let began = Instant::now();
        let asked = ask_all(&probes, Some(&tcp(open)), &client(), began, within).await;
        let names: Vec<&str> = asked
            .answers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["closed", "open"]);
        assert_eq!(asked.round.ended, within);
        assert_eq!(asked.round.control, Some(Value::Good));
        let values: Vec<&str> = asked
            .round
            .samples
            .iter()
            .map(|it| it.value.name())
            .collect();
        assert_eq!(values, ["bad", "good"]);
        assert!(asked.round.samples.iter().all(|sample| sample.at <= within));

        let late = ask_all(&probes, Some(&silent), &client(), began, within).await;
        assert_eq!((late.round.began, late.round.control), (within, None));
    }

    #[test]
    fn rounds_can_be_spawned() {
        fn is_send<T: Send>(_: &T) {}

        let (probes, client) = (BTreeMap::new(), client());
        let probe = tcp("127.0.0.1:1".parse().unwrap());
        let began = Instant::now();
        is_send(&ask_all(
            &probes,
            Some(&probe),
            &client,
            began,
            Duration::ZERO,
        ));
    }
}
