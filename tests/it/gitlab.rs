//! The GitLab component: its templates as text, its script in plain shells, and whole pipelines by the
//! real gitlab-ci-local, which includes the component by its real reference.

mod linters;
mod pages;
mod project;
mod rules;
mod runs;
mod shell;
mod template;
