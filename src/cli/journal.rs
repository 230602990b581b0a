//! The journal of a run while it goes on: begun before the first step, gone when nothing is left to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::args::RunArgs;
use super::machine;
use super::printer::Printer;
use super::session::Session;
use crate::engine::lock::LockedImage;
use crate::engine::task::Tasks;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::{RunNames, Source};
use crate::report::event::HostRequests;
use crate::report::{Consumer, Detail, Event, Mask};
use crate::state::header::VERSION;
use crate::state::journal::SIGN;
use crate::state::{self, Course, Header, Journal, JournalError, Liveness, Options, Shelves};

/// Writes down what happens, if there is a journal.
#[derive(Default)]
pub struct Keeper(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    course: Course,
    journal: Option<Open>,
    /// The first line of the journal, kept a second time where no component can reach.
    record: Option<Journal>,
    /// Returns what was asked of the network so far.
    count: Option<Count>,
    counted: Vec<HostRequests>,
}

type Count = Box<dyn Fn() -> Vec<HostRequests> + Send>;

struct Open {
    journal: Journal,
    mask: Arc<dyn Mask>,
    /// Why nothing more is written, and whether that was said.
    broken: Option<(Failure, bool)>,
}

impl Keeper {
    /// Follows a run from its beginning, of which these events are known already.
    pub fn follow(&self, events: &[Event]) {
        let mut course = Course::default();
        events.iter().for_each(|event| course.apply(event));
        *self.kept() = Kept {
            course,
            ..Kept::default()
        };
    }

    /// Writes down what happens from here on.
    pub fn keep(&self, journal: Journal, mask: Arc<dyn Mask>) {
        self.kept().journal = Some(Open {
            journal,
            mask,
            broken: None,
        });
    }

    /// Holds the record of a run as long as its journal.
    fn keep_record(&self, record: Journal) {
        self.kept().record = Some(record);
    }

    /// Writes down what was asked of the network, from time to time.
    pub fn count(&self, count: impl Fn() -> Vec<HostRequests> + Send + 'static) {
        self.kept().count = Some(Box::new(count));
    }

    /// Returns how far the run has come.
    #[must_use]
    pub fn course(&self) -> Course {
        self.kept().course.clone()
    }

    /// Shows that the run goes on, for ever: select it against the run.
    pub async fn keep_alive(&self, printer: &Printer) {
        loop {
            tokio::time::sleep(SIGN).await;
            self.write(|journal, _| journal.sign());
            self.write_count();
            self.complain(printer);
        }
    }

    /// Says once that the journal can't be written.
    pub fn complain(&self, printer: &Printer) {
        let mut kept = self.kept();
        let Some(Open {
            broken: Some((failure, said @ false)),
            ..
        }) = &mut kept.journal
        else {
            return;
        };
        *said = true;
        printer.warning(&said_of(failure), failure.hint.as_deref());
    }

    /// Closes the journal: it is removed if nothing is left to do. Otherwise its path is returned.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn close(&self, nothing_left: bool) -> Result<Option<String>, Failure> {
        let (journal, record) = {
            let mut kept = self.kept();
            (kept.journal.take(), kept.record.take())
        };
        let Some(open) = journal else {
            return Ok(None);
        };
        if !nothing_left {
            return Ok(Some(open.journal.path().display().to_string()));
        }
        let removed = open.journal.remove();
        let removed = removed.and_then(|()| record.map_or(Ok(()), Journal::remove));
        removed.map(|()| None).map_err(|error| {
            let message = "the journal of a run that is over stays";
            Failure::explained(ExitCode::Unexpected, message, &error)
        })
    }

    fn write(&self, write: impl FnOnce(&mut Journal, &dyn Mask) -> Result<(), JournalError>) {
        let mut kept = self.kept();
        if let Some(open) = &mut kept.journal
            && open.broken.is_none()
            && let Err(error) = write(&mut open.journal, &*open.mask)
        {
            // The file is held on: a run that can't write is still alive.
            open.broken = Some((unkept("this run's journal ends here", &error), false));
        }
    }

    fn write_count(&self) {
        let event = {
            let mut kept = self.kept();
            let hosts = kept.count.as_ref().map(|count| count()).unwrap_or_default();
            if hosts == kept.counted {
                return;
            }
            kept.counted.clone_from(&hosts);
            Event {
                elapsed: kept.course.last(),
                step: None,
                detail: Detail::RequestsCounted { hosts },
            }
        };
        self.write(|journal, mask| journal.event(&event, mask));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic of another thread while it wrote leaves at worst half a line.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consumer for Keeper {
    fn event(&self, event: &Event) {
        self.kept().course.apply(event);
        self.write(|journal, mask| journal.event(event, mask));
        if matches!(event.detail, Detail::StepFinished { .. }) {
            self.write_count();
        }
    }
}

/// Returns the first line of a run's journal.
#[must_use]
pub fn header(
    arguments: &RunArgs,
    session: &Session,
    source: &Source,
    run: &RunNames,
    inputs: BTreeMap<String, String>,
    locked: Option<BTreeMap<String, LockedImage>>,
) -> Header {
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_deref()
            .map(|path: &Path| path.display().to_string())
    };
    Header {
        journal: VERSION,
        shipgate: env!("CARGO_PKG_VERSION").to_owned(),
        run: run.id.clone(),
        at: session.environment.clock.now().to_string(),
        boot: machine::boot(&session.environment),
        liveness: Liveness::Signs,
        folder: machine::folder(),
        file: source.name().to_owned(),
        document: source.text().to_owned(),
        inputs,
        link: run.link.clone(),
        playground: None,
        options: Options {
            only: arguments.only.clone(),
            from: arguments.from.clone(),
            until: arguments.until.clone(),
            lock: path(&arguments.lock),
            report: path(&arguments.report),
            plain_http: arguments.store.plain_http,
        },
        locked,
    }
}

impl Session {
    /// Begins the journal of a run. One that can't be kept is a warning, if there would be anything to
    /// finish: the run itself does not need it, and what runs today must not fail tomorrow
    /// because a folder is read-only.
    pub fn begin_journal(&self, cache: &Path, header: Header, tasks: &Tasks) {
        let folder = cache.join(state::FOLDER);
        // What can't be swept is swept another time.
        let _ = state::sweep(&folder);
        let matters = !tasks.on_failure.is_empty()
            || !tasks.finally.is_empty()
            || header.options.report.is_some()
            || header.playground.is_some();
        self.journal.follow(&[]);
        let begun = self.begin_record(cache, &header).and_then(|record| {
            let journal = Journal::begin(&folder, header, self.masked())?;
            Ok((journal, record))
        });
        match begun {
            Ok((journal, record)) => {
                self.journal.keep(journal, self.mask_in_use());
                record
                    .into_iter()
                    .for_each(|it| self.journal.keep_record(it));
            }
            Err(error) if matters => {
                let failure = unkept("this run keeps no journal", &error);
                self.printer
                    .warning(&said_of(&failure), failure.hint.as_deref());
            }
            Err(_) => {}
        }
    }

    /// Keeps what a run is given where no component can reach, if its cache was open to one.
    ///
    /// # Errors
    /// It can't be written, or would hold a secret.
    fn begin_record(&self, cache: &Path, header: &Header) -> Result<Option<Journal>, JournalError> {
        // In the component the launcher has kept it.
        let own = self.brief.is_none();
        let state = self.environment.launcher_state().filter(|_| own);
        let shelf = state.and_then(|state| Shelves::in_folder(&state).of(cache));
        let begin = |shelf: PathBuf| Journal::begin(&shelf, header.clone(), self.masked());
        shelf.map(begin).transpose()
    }

    /// Ends the journal of a run that is over, and says what is left. `written` says whether its report
    /// is, `lost` that nothing of it can be finished by another process.
    ///
    /// Returns whether something was said.
    pub fn end_journal(&self, written: bool, lost: bool) -> bool {
        self.journal.complain(&self.printer);
        let left = self.journal.course().left();
        match self.journal.close(lost || written && left.is_empty()) {
            Ok(None) => false,
            Ok(Some(path)) => {
                let left = if left.is_empty() {
                    "its report".to_owned()
                } else {
                    left.join(", ")
                };
                let message = format!("left open: {left}; the journal of this run stays");
                let cache = Path::new(&path)
                    .ancestors()
                    .nth(2)
                    .unwrap_or(Path::new("."));
                let hint = format!(
                    "`shipgate finish --cache {}` does what is left; to give it up, remove {path}",
                    cache.display()
                );
                self.printer.warning(&message, Some(&hint));
                true
            }
            Err(failure) => {
                let hint = failure.hint.as_deref();
                self.printer.warning(&said_of(&failure), hint);
                true
            }
        }
    }
}

fn unkept(message: &str, error: &JournalError) -> Failure {
    let message = format!("{message}, so that `finish` could not end it if it were killed");
    Failure::explained(ExitCode::Unexpected, message, error)
}

/// Says a failure in one line, to its last cause: that is what the system said.
fn said_of(failure: &Failure) -> String {
    [std::slice::from_ref(&failure.message), &failure.causes]
        .concat()
        .join(": ")
}
