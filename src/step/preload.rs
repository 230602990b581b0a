//! `preload`: brings images into the cache, every byte checked, before anything needs them.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tokio::time::Instant;

use super::deliver;
use super::destination::Destination;
use super::sources;
use crate::engine::grants::Grants;
use crate::engine::plan::Cost;
use crate::engine::task::{Action, Rehearsal};
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::oci::{Manifest, Resolved};
use crate::outcome::ExitCode;
use crate::pipeline::address::ImageName;
use crate::pipeline::record::record;
use crate::pull::{self, CONNECTIONS, OnProgress, Progress, Puller};
use crate::report::{Detail, words};

record! {
    /// Fetches images, every byte checked against its digest, and hands them on.
    pub struct Preload("`preload`") {
        /// The images, by their names under `images`.
        images: Vec<ImageName>,
        /// Where the images go. They are in the cache in any case.
        to: Vec<Destination> = vec![Destination::Cache],
    }
    check = |preload, _, context| crate::pipeline::validate::distinct_images(&preload.images, context);
}

impl Preload {
    /// Makes one of the names of images and where they go, for commands that have no document.
    #[must_use]
    pub fn of(images: Vec<String>, to: Vec<Destination>) -> Self {
        Self {
            images: images.into_iter().map(super::unplaced).collect(),
            to,
        }
    }
}

impl Preload {
    fn names(&self) -> Vec<&str> {
        self.images.iter().map(ImageName::as_str).collect()
    }
}

impl Action for Preload {
    fn verb(&self) -> &'static str {
        "preload"
    }

    fn family(&self) -> ExitCode {
        ExitCode::PreloadFailed
    }

    fn grants(&self, grants: &mut Grants, context: &Context) {
        for image in &self.images {
            if let Some(reference) = context.world.images.reference(image.as_str()) {
                sources(&reference.repository.registry, "preload", grants, context);
            }
        }
        grants.write(context.world.cache.root().display().to_string(), "cache");
        for destination in &self.to {
            deliver::grants(destination, grants, context);
        }
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        async {
            let world = &context.world;
            let puller = Puller::new(&context.registries(), &world.cache, CONNECTIONS);
            let images = self
                .images
                .iter()
                .map(|name| preload(name.as_str(), &puller, context));
            try_join_all(images).await?;
            deliver::deliver(&self.names(), &self.to, context).await
        }
        .boxed()
    }

    fn rehearse<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<Rehearsal, Failure>> {
        async {
            let images = self
                .images
                .iter()
                .map(|name| forecast(name.as_str(), context));
            let mut rehearsed = try_join_all(images).await?;
            rehearsed.push(deliver::rehearse(&self.names(), &self.to, context).await?);
            Ok(rehearsed.into_iter().collect())
        }
        .boxed()
    }
}

/// Brings one image into the cache and records it there.
async fn preload(name: &str, puller: &Puller, context: &Context) -> Result<(), Failure> {
    let world = &context.world;
    let began = Instant::now();
    let image = resolve(name, context).await?;
    let listener = listener(name, context);
    let done = puller
        .pull(&image, listener)
        .await
        .map_err(|error| failed(name, &error))?;
    let reference = world
        .images
        .reference(name)
        .map(ToString::to_string)
        .unwrap_or_default();
    let top = image.chain.first().map(Manifest::descriptor);
    if let Some(top) = top {
        let recorded = world.cache.record(
            &reference,
            &top,
            image.platform.as_ref(),
            image.bytes(),
            world.clock.now(),
        );
        recorded
            .await
            .map_err(|error| failed(name, &pull::Error::from(error)))?;
    }
    context.events.emit(Detail::ImagePreloaded {
        image: name.to_owned(),
        digest: image.digest,
        fetched: done.fetched,
        cached: done.cached,
        served: done.served,
        took: began.elapsed(),
    });
    Ok(())
}

/// Counts what a preload of one image would request.
async fn forecast(name: &str, context: &Context) -> Result<Rehearsal, Failure> {
    let world = &context.world;
    let image = resolve(name, context).await?;
    let forecast = pull::forecast(&image, &world.cache)
        .map_err(|error| failed(name, &pull::Error::from(error)))?;
    // Two images may share layers, and a run fetches each layer once.
    let missing: Vec<_> = forecast
        .missing
        .iter()
        .filter(|blob| world.images.count(blob.digest))
        .collect();
    let bytes = missing.iter().map(|blob| blob.size).sum();
    let line = format!(
        "{name}: {} of {} to fetch, {} in the cache",
        words::size(bytes),
        words::size(image.bytes()),
        words::size(image.bytes().saturating_sub(bytes)),
    );
    let mut rehearsal = Rehearsal::said(line);
    let requests = missing.len() as u64;
    let registry = &image.reference.repository.registry;
    let mut first = registry.clone();
    if let Some(sources) = world.registries.sources(registry) {
        if let Some(mirror) = sources.mirrors.first() {
            first = mirror.name();
        }
        rehearsal
            .lines
            .push(format!("{name}: asks {}", sources.in_words(registry)));
    }
    let place = world.registries.endpoint(&first);
    let (host, port) = place.map_err(|error| failed(name, &error.into()))?;
    rehearsal.expects(format!("{host}:{port}"), Cost { requests, bytes });
    Ok(rehearsal)
}

async fn resolve(name: &str, context: &Context) -> Result<Arc<Resolved>, Failure> {
    let image = context.world.images.resolve(name, context).await;
    image.map_err(|error| error.failure(name, ExitCode::PreloadFailed))
}

fn failed(name: &str, error: &pull::Error) -> Failure {
    Failure::explained(
        ExitCode::PreloadFailed,
        format!("image `{name}` could not be preloaded"),
        error,
    )
}

/// Turns the puller's progress into events that name the image.
fn listener(name: &str, context: &Context) -> OnProgress {
    let events = context.events.clone();
    let image_name = name.to_owned();
    Arc::new(move |progress| {
        events.emit(match progress {
            Progress::Started { digest, size } => Detail::BlobStarted {
                image: image_name.clone(),
                digest,
                size,
            },
            Progress::Advanced { digest, received } => Detail::BlobProgressed { digest, received },
            Progress::Finished(blob) => Detail::BlobFinished {
                image: image_name.clone(),
                digest: blob.digest,
                size: blob.size,
                cached: blob.host.is_none(),
                host: blob.host,
                took: blob.took,
            },
        });
    })
}
