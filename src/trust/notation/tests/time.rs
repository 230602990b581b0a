//! When signatures were made: now, by a time stamp, or by the word of an authority.

use std::collections::BTreeMap;

use super::maker::{Asked, Party, Stamp, time};
use super::*;

/// A signer whose certificates have ended since, and a time-stamp authority.
struct Stamped {
    world: World,
    authority: Party,
    stamper: Party,
}

impl Stamped {
    fn new() -> Self {
        let authority = Party::root("time");
        let stamper = Party::stamper(&authority, |_| {});
        let mut world = World::new();
        world.memory.now = Some(time("2031-01-01T00:00:00Z"));
        Self {
            world,
            authority,
            stamper,
        }
    }

    fn stamp(&self) -> Stamp<'_> {
        Stamp {
            signer: &self.stamper,
            with: vec![&self.stamper, &self.authority],
            at: "2026-06-01T12:00:01Z",
            accuracy: Some(1),
            named: Some(&self.stamper),
        }
    }

    fn statement(&self) -> Statement {
        let mut statement = self.world.statement();
        statement.stores.insert(
            StoreKind::TimeStamping,
            store(StoreKind::TimeStamping, &[&self.authority]),
        );
        statement
    }

    async fn verdict(&mut self, alter: impl FnOnce(&mut Stamp<'_>)) -> Verdict {
        let mut stamp = self.stamp();
        alter(&mut stamp);
        let asked = Asked::about(target()).stamped(stamp);
        let envelope = asked.cose(&self.world.leaf, &[&self.world.root]);
        self.world.memory.forget();
        self.world.attach(COSE, &envelope);
        self.world.verdict(self.statement()).await
    }
}

#[tokio::test]
async fn a_time_stamp_outlives_the_certificates() {
    let mut stamped = Stamped::new();
    let verdict = stamped.verdict(|_| {}).await;
    assert!(verdict.is_verified(), "{verdict:?}");
    let without = {
        let mut statement = stamped.world.statement();
        statement.stores.remove(&StoreKind::TimeStamping);
        stamped.world.verdict(statement).await
    };
    assert_eq!(without.exit(), ExitCode::SignatureExpired);
    insta::assert_snapshot!(told(&without));
}

#[tokio::test]
async fn the_order_of_certificates_and_the_root_do_not_matter() {
    let mut stamped = Stamped::new();
    let (stamper, authority) = (
        Party::stamper(&stamped.authority, |_| {}),
        Party::root("another"),
    );
    stamped.stamper = stamper;
    let verdict = {
        let mut stamp = stamped.stamp();
        stamp.with = vec![&authority, &stamped.stamper];
        let asked = Asked::about(target()).stamped(stamp);
        let envelope = asked.jws(&stamped.world.leaf, &[&stamped.world.root]);
        stamped.world.memory.forget();
        stamped.world.attach(JWS, &envelope);
        stamped.world.verdict(stamped.statement()).await
    };
    assert!(verdict.is_verified(), "{verdict:?}");
}

/// CVE-2026-39984: the signer's certificate is the one that the signed attribute names, whatever else is in the token.
#[tokio::test]
async fn cve_2026_39984_a_certificate_more_in_the_token_is_nobodys() {
    let mut stamped = Stamped::new();
    let forged = Party::stamper(&stamped.authority, |_| {});
    let evil = Party::root("evil");
    let theirs = Party::stamper(&evil, |_| {});
    // The evil authority signs, and the trusted one's certificate stands in front.
    let verdict = {
        let mut stamp = stamped.stamp();
        stamp.signer = &theirs;
        stamp.with = vec![&stamped.stamper, &theirs, &evil];
        stamp.named = Some(&theirs);
        let asked = Asked::about(target()).stamped(stamp);
        let envelope = asked.jws(&stamped.world.leaf, &[&stamped.world.root]);
        stamped.world.attach(JWS, &envelope);
        stamped.world.verdict(stamped.statement()).await
    };
    assert_eq!(verdict.exit(), ExitCode::BadSignature);
    // It names the trusted one, which did not sign.
    let verdict = {
        let mut stamp = stamped.stamp();
        stamp.signer = &theirs;
        stamp.with = vec![&stamped.stamper, &forged];
        let asked = Asked::about(target()).stamped(stamp);
        let envelope = asked.jws(&stamped.world.leaf, &[&stamped.world.root]);
        stamped.world.memory.forget();
        stamped.world.attach(JWS, &envelope);
        stamped.world.verdict(stamped.statement()).await
    };
    assert_eq!(verdict.exit(), ExitCode::BadSignature);
}

#[tokio::test]
async fn time_stamps_that_do_not_count() {
    let mut lines = Vec::new();
    let mut stamped = Stamped::new();
    let unnamed = stamped.verdict(|stamp| stamp.named = None).await;
    lines.push(("no named certificate", unnamed));
    let empty = stamped.verdict(|stamp| stamp.with = vec![]).await;
    lines.push(("no certificate", empty));
    let early = stamped
        .verdict(|stamp| stamp.at = "2024-12-31T23:59:59Z")
        .await;
    lines.push(("before the certificate", early));
    let late = stamped
        .verdict(|stamp| stamp.at = "2030-06-01T00:00:00Z")
        .await;
    lines.push(("after the certificate", late));
    // A second before its end, give or take two.
    let edge = stamped
        .verdict(|stamp| {
            stamp.at = "2029-12-31T23:59:59Z";
            stamp.accuracy = Some(2);
        })
        .await;
    lines.push(("too inexact", edge));
    let mut foreign = Stamped::new();
    let authority = Party::root("foreign");
    foreign.stamper = Party::stamper(&authority, |_| {});
    let verdict = foreign.verdict(|stamp| stamp.with.truncate(1)).await;
    lines.push(("another authority", verdict));
    let mut weak = Stamped::new();
    weak.stamper = Party::stamper(&weak.authority, |params| {
        params.custom_extensions.clear();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::TimeStamping];
    });
    lines.push(("purpose not critical", weak.verdict(|_| {}).await));
    let mut none = Stamped::new();
    none.world.sign(|asked| asked);
    lines.push(("none", none.world.verdict(none.statement()).await));
    let shown: Vec<String> = lines
        .iter()
        .map(|(name, verdict)| {
            assert!(!verdict.is_verified(), "{name}");
            format!(
                "{name}: {}: {}",
                verdict.exit().name(),
                check(verdict).found()
            )
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test]
async fn a_time_stamp_of_another_signature_does_not_count() {
    let mut stamped = Stamped::new();
    let token = stamped.stamp().token(b"another");
    let store = store(StoreKind::TimeStamping, &[&stamped.authority]);
    let good = super::super::timestamp::verify(&token, b"another", &store).unwrap();
    assert_eq!(good.latest, time("2026-06-01T12:00:02Z"));
    assert!(super::super::timestamp::verify(&token, b"this", &store).is_err());
    for index in (0..token.len()).step_by(5) {
        let mut flipped = token.clone();
        flipped[index] ^= 1 << (index % 8);
        if let Ok(stamp) = super::super::timestamp::verify(&flipped, b"another", &store) {
            assert_eq!(stamp.latest, good.latest, "{index}");
        }
    }
    stamped.world.memory.forget();
}

#[tokio::test]
async fn time_stamps_are_asked_for_when_the_policy_says() {
    let mut stamped = Stamped::new();
    stamped.world.memory.now = Some(time(NOW));
    stamped.world.sign(|asked| asked);
    let always = stamped.statement();
    let mut after = stamped.statement();
    after.time_stamps = TimeStamps::AfterExpiry;
    assert_eq!(stamped.world.exit(always).await, ExitCode::BadSignature);
    assert_eq!(stamped.world.exit(after.clone()).await, ExitCode::Done);
    stamped.world.memory.now = Some(time("2031-01-01T00:00:00Z"));
    assert_eq!(stamped.world.exit(after).await, ExitCode::BadSignature);
}

/// CVE-2026-24122: an authority in the middle of a chain that has ended is not passed over.
#[tokio::test]
async fn cve_2026_24122_an_authority_that_ended_counts_no_longer() {
    let mut world = World::new();
    let middle = Party::authority("middle", Some(&world.root), |params| {
        params.not_after = rcgen::date_time_ymd(2026, 6, 10);
    });
    let leaf = Party::leaf("leaf", &middle, |_| {});
    let envelope = Asked::about(target()).jws(&leaf, &[&middle, &world.root]);
    world.attach(JWS, &envelope);
    assert_eq!(
        world.exit(world.statement()).await,
        ExitCode::SignatureExpired
    );
    world.memory.now = Some(time("2026-06-09T00:00:00Z"));
    assert_eq!(world.exit(world.statement()).await, ExitCode::Done);
}

#[tokio::test]
async fn the_word_of_a_signing_authority_counts_inside_its_certificates() {
    for (at, exit) in [
        ("2026-06-01T12:00:00Z", ExitCode::Done),
        ("2024-06-01T12:00:00Z", ExitCode::SignatureExpired),
    ] {
        let mut world = World::new();
        // Long after everything has ended.
        world.memory.now = Some(time("2040-01-01T00:00:00Z"));
        let asked = Asked::about(target()).by_authority(at);
        let envelope = asked.cose(&world.leaf, &[&world.root]);
        world.attach(COSE, &envelope);
        let mut statement = world.statement();
        statement.stores = BTreeMap::from([(
            StoreKind::SigningAuthority,
            store(StoreKind::SigningAuthority, &[&world.root]),
        )]);
        assert_eq!(world.exit(statement).await, exit, "{at}");
    }
}
