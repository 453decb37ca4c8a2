//! `--season`: what takes the place of the day.
//!
//! Models know a season and a longer one of seven of it, by default the day and the week. With another season the series is
//! told on a clock on which that takes a day ([`SeasonClock`]); everything that is printed is of real time again.

use std::fmt;
use std::str::FromStr;

use anyhow::Context;
use forebay_forecast::SeasonClock;

use super::{Named, Span};

/// Seasons in the longer one.
const IN_LONGER: usize = 7;

/// A length of time, or a number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Season {
    Steps(usize),
    Time(Span),
}

impl FromStr for Season {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(steps) = text.parse() {
            return Ok(Self::Steps(steps));
        }
        let span = text.parse::<Span>().ok();
        span.map(Self::Time).ok_or_else(|| "write lengths such as 24h, 7d or 90m, or numbers of steps".to_owned())
    }
}

impl fmt::Display for Season {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps}"),
            Self::Time(span) => write!(f, "{span}"),
        }
    }
}

impl Season {
    fn steps(self, step_s: u32) -> anyhow::Result<usize> {
        match self {
            Self::Steps(steps) => Ok(steps),
            Self::Time(span) => {
                let step = Span { seconds: step_s };
                anyhow::ensure!(
                    span.seconds.is_multiple_of(step_s),
                    "{span} is no whole number of the steps of {step}"
                );
                Ok((span.seconds / step_s) as usize)
            }
        }
    }
}

/// Tells a series by the seasons that were asked for.
pub(super) fn put_on(named: &mut Named, seasons: &[Season]) -> anyhow::Result<()> {
    let Some((first, more)) = seasons.split_first() else { return Ok(()) };
    let place = format!("{}: --season {first}", named.name);
    let main = first.steps(named.step_s).context(place.clone())?;
    let longer = IN_LONGER * main;
    let is_known = match more {
        [] => true,
        [second] => second.steps(named.step_s).context(place.clone())? == longer,
        _ => false,
    };
    anyhow::ensure!(
        is_known,
        "{place} with others: models know one season and one of {IN_LONGER} times its length, here {longer} steps; give the \
         shorter one alone"
    );
    if main == named.series.day_steps() {
        return Ok(());
    }
    anyhow::ensure!(
        named.calendar.events().is_empty(),
        "{place}: events are told by days and hours; leave out --season, or the events"
    );
    let clock = SeasonClock::of(&named.series, main).context(place.clone())?;
    named.series = clock.series(&named.series).context(place.clone())?;
    named.seen = named.seen.take().map(|seen| clock.series(&seen)).transpose().context(place)?;
    named.clock = Some(clock);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seasons_are_lengths_or_steps() {
        let steps = |text: &str| text.parse::<Season>().unwrap().steps(300).map_err(|error| error.to_string());
        assert_eq!([steps("24h"), steps("7d"), steps("90m"), steps("36")], [Ok(288), Ok(2016), Ok(18), Ok(36)]);
        assert_eq!(steps("7m"), Err("7m is no whole number of the steps of 5m".to_owned()));
        for wrong in ["daily", "0d", "-1", "1.5d", ""] {
            assert!(wrong.parse::<Season>().unwrap_err().contains("such as 24h, 7d"), "{wrong}");
        }
    }
}
