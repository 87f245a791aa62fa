//! Options that are listed only once their subcommand is used.

use std::ops::Deref;

use clap::error::Error;
use clap::{ArgMatches, Args, Command, FromArgMatches};

/// The options of a subcommand, which clap is told when it comes to them.
///
/// To list those of every subcommand takes longer than to read a small capture.
#[derive(Clone, PartialEq, Debug)]
pub struct Later<T>(pub T);

impl<T> Deref for Later<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: FromArgMatches> FromArgMatches for Later<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<T: Args> Args for Later<T> {
    fn augment_args(command: Command) -> Command {
        command.defer(|command| told_by(&command.clone(), T::augment_args(command)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(|command| told_by(&command.clone(), T::augment_args_for_update(command)))
    }
}

/// The command with the description of its subcommand, not with that of the type that holds its options.
fn told_by(subcommand: &Command, mut command: Command) -> Command {
    if let Some(about) = subcommand.get_about() {
        command = command.about(about.clone());
    }
    if let Some(about) = subcommand.get_long_about() {
        command = command.long_about(about.clone());
    }
    command
}
