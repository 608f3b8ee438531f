//! Pictures of a comparison, as SVG that takes its colours from the page around it.
//!
//! A method is told by its colour and by its shape, so that neither printing in grey nor an eye that does not tell
//! colours loses it.

use maud::{Markup, html};

use super::results::{Method, Point, Results, Spread, State};

/// Shapes and colours that differ; more methods share them.
pub const STYLES: usize = 7;
/// Size of a picture in its own units, which are pixels on a phone.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 300.0;
/// Room for the labels of the axes.
const LEFT: f64 = 50.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// Marks of an axis, about.
const TICKS: f64 = 5.0;
/// Half the size of the mark of a run, and of a mean.
const SMALL: f64 = 3.5;
const LARGE: f64 = 6.5;
/// Height of a method's row in a plot of scores alone.
const ROW: f64 = 40.0;

/// The mark of a method.
pub fn mark(style: usize, x: f64, y: f64, size: f64) -> Markup {
    let (left, right, up, down) = (x - size, x + size, y - size, y + size);
    let polygon = |points: String| html! { polygon points=(points) {} };
    match style % STYLES {
        0 => html! { circle cx=(x) cy=(y) r=(size) {} },
        1 => html! { rect x=(left) y=(up) width=(2.0 * size) height=(2.0 * size) {} },
        2 => polygon(format!("{x},{up} {right},{down} {left},{down}")),
        3 => polygon(format!("{x},{up} {right},{y} {x},{down} {left},{y}")),
        4 => polygon(format!("{left},{up} {right},{up} {x},{down}")),
        5 => {
            let arm = size / 2.5;
            polygon(format!(
                "{a},{up} {b},{up} {b},{c} {right},{c} {right},{d} {b},{d} {b},{down} {a},{down} {a},{d} {left},{d} {left},{c} {a},{c}",
                a = x - arm,
                b = x + arm,
                c = y - arm,
                d = y + arm,
            ))
        }
        _ => {
            let arm = size / 2.0;
            polygon(format!(
                "{left},{y} {},{up} {},{up} {right},{y} {},{down} {},{down}",
                x - arm,
                x + arm,
                x + arm,
                x - arm
            ))
        }
    }
}

/// The mark of a method in a line of text.
pub fn swatch(style: usize) -> Markup {
    html! {
        svg class={ "swatch m" (style % STYLES) } viewBox="0 0 16 16" aria-hidden="true" {
            (mark(style, 8.0, 8.0, 6.0))
        }
    }
}

/// An axis: the values that it shows and where.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis over some values, between two places, that begins and ends at a mark.
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (low, high) = match low <= high {
            true => (low, high),
            false => (0.0, 1.0),
        };
        let step = nice((high - low).max(high.abs() * 0.02).max(1e-9) / TICKS);
        let low = (low / step).floor() * step;
        let high = (high / step).ceil() * step;
        Self {
            low,
            high: if high > low { high } else { low + step },
            step,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        ((self.from + share * (self.to - self.from)) * 10.0).round() / 10.0
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        let decimals = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
        let tick = |index: usize| {
            let value = self.low + index as f64 * self.step;
            (self.at(value), format!("{value:.decimals$}"))
        };
        (0..=count).map(tick).collect()
    }
}

/// The next of 1, 2, 5, 10, 20, …
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|digit| digit * power >= step * 0.999);
    digit.unwrap_or(10.0) * power
}

/// Lines and labels of both axes.
fn frame(x: &Axis, y: &Axis, names: (&str, &str), height: f64) -> Markup {
    let (bottom, right) = (height - BOTTOM, WIDTH - RIGHT);
    html! {
        g class="grid" {
            @for (at, _) in x.ticks() { line x1=(at) x2=(at) y1=(TOP) y2=(bottom) {} }
            @for (at, _) in y.ticks() { line x1=(LEFT) x2=(right) y1=(at) y2=(at) {} }
        }
        g class="ticks" {
            @for (at, label) in x.ticks() {
                text x=(at) y=(bottom + 16.0) text-anchor="middle" { (label) }
            }
            @for (at, label) in y.ticks() {
                text x=(LEFT - 6.0) y=(at + 4.0) text-anchor="end" { (label) }
            }
        }
        g class="names" {
            text x=((LEFT + right) / 2.0) y=(height - 8.0) text-anchor="middle" { (names.0) }
            text transform={ "translate(13 " ((TOP + bottom) / 2.0) ") rotate(-90)" } text-anchor="middle" { (names.1) }
        }
    }
}

fn picture(id: &str, height: f64, title: &str, description: &str, inside: Markup) -> Markup {
    html! {
        svg class="plot" role="img" viewBox={ "0 0 " (WIDTH) " " (height) }
            aria-labelledby={ (id) "-title " (id) "-description" } {
            title id={ (id) "-title" } { (title) }
            desc id={ (id) "-description" } { (description) }
            (inside)
        }
    }
}

/// A method's point: its runs, and their means.
struct Place {
    runs: Vec<(f64, f64)>,
    x: Spread,
    y: Spread,
}

fn place(results: &Results, method: &Method) -> Option<Place> {
    let summary = method.summary.as_ref()?;
    let runs = method
        .runs
        .iter()
        .filter_map(|run| Some((run.kept?, run.scores.as_ref()?.get(&results.score)?)));
    Some(Place {
        runs: runs.collect(),
        x: summary.kept?,
        y: summary.score,
    })
}

/// The score against what was kept of the base's abilities; none where abilities were not measured.
pub fn score_and_kept(results: &Results) -> Option<Markup> {
    let places = results.methods.iter().map(|method| place(results, method));
    let places: Vec<Option<Place>> = places.collect();
    if places.iter().all(Option::is_none) {
        return None;
    }
    let base = (
        100.0,
        results.base.scores.get(&results.score).unwrap_or(0.0),
    );
    let runs = || {
        places
            .iter()
            .flatten()
            .flat_map(|place| place.runs.iter().copied())
    };
    let x = runs().map(|run| run.0).chain([base.0]);
    let x = Axis::over(x, LEFT, WIDTH - RIGHT);
    let y = runs().map(|run| run.1).chain([base.1, 0.0]);
    let y = Axis::over(y, HEIGHT - BOTTOM, TOP);
    let (base_x, base_y) = (x.at(base.0), y.at(base.1));
    let inside = html! {
        (frame(&x, &y, ("abilities kept, %", &results.score), HEIGHT))
        g class="base" {
            line x1=(base_x) x2=(base_x) y1=(TOP) y2=(HEIGHT - BOTTOM) {}
            line x1=(LEFT) x2=(WIDTH - RIGHT) y1=(base_y) y2=(base_y) {}
            circle cx=(base_x) cy=(base_y) r=(LARGE) {}
            text x=(base_x - 10.0) y=(base_y - 9.0) text-anchor="end" { "base" }
        }
        @for (style, place) in places.iter().enumerate() {
            @if let Some(place) = place {
                g class={ "m" (style % STYLES) } {
                    g class="runs" {
                        @for run in &place.runs { (mark(style, x.at(run.0), y.at(run.1), SMALL)) }
                    }
                    (whisker(&x, &y, place))
                    g class="mean" { (mark(style, x.at(place.x.mean), y.at(place.y.mean), LARGE)) }
                }
            }
        }
    };
    let description = format!(
        "Each method at its mean over the seeds, with lines of one standard deviation and a small mark for each run. \
         Right is more of the base's abilities kept, up is a better {}. The numbers are in the table below.",
        results.score
    );
    Some(picture(
        "score-kept",
        HEIGHT,
        "Score against abilities kept",
        &description,
        inside,
    ))
}

fn whisker(x: &Axis, y: &Axis, place: &Place) -> Markup {
    let (at_x, at_y) = (x.at(place.x.mean), y.at(place.y.mean));
    let within = |axis: &Axis, value: f64| axis.at(value.clamp(axis.low, axis.high));
    html! {
        g class="sd" {
            @if let Some(sd) = place.x.sd {
                line x1=(within(x, place.x.mean - sd)) x2=(within(x, place.x.mean + sd)) y1=(at_y) y2=(at_y) {}
            }
            @if let Some(sd) = place.y.sd {
                line x1=(at_x) x2=(at_x) y1=(within(y, place.y.mean - sd)) y2=(within(y, place.y.mean + sd)) {}
            }
        }
    }
}

/// The scores alone, a row for each method.
pub fn scores(results: &Results) -> Markup {
    let base = results.base.scores.get(&results.score).unwrap_or(0.0);
    let of = |method: &Method| -> Vec<f64> {
        let runs = method.runs.iter();
        runs.filter_map(|run| run.scores.as_ref()?.get(&results.score))
            .collect()
    };
    let all = results.methods.iter().flat_map(of).chain([base, 0.0]);
    let height = TOP + ROW * results.methods.len() as f64 + BOTTOM;
    let x = Axis::over(all, LEFT, WIDTH - RIGHT);
    let bottom = height - BOTTOM;
    let inside = html! {
        g class="grid" { @for (at, _) in x.ticks() { line x1=(at) x2=(at) y1=(TOP) y2=(bottom) {} } }
        g class="ticks" {
            @for (at, label) in x.ticks() { text x=(at) y=(bottom + 16.0) text-anchor="middle" { (label) } }
        }
        g class="names" { text x=((LEFT + WIDTH - RIGHT) / 2.0) y=(height - 8.0) text-anchor="middle" { (results.score) } }
        g class="base" {
            line x1=(x.at(base)) x2=(x.at(base)) y1=(TOP) y2=(bottom) {}
            text x=(x.at(base) + 4.0) y=(TOP + 4.0) { "base" }
        }
        @for (style, method) in results.methods.iter().enumerate() {
            @let y = TOP + ROW * (style as f64 + 0.6);
            g class={ "m" (style % STYLES) } {
                (swatch_at(style, y))
                g class="runs" { @for score in of(method) { (mark(style, x.at(score), y, SMALL)) } }
                @if let Some(summary) = &method.summary {
                    g class="mean" { (mark(style, x.at(summary.score.mean), y, LARGE)) }
                }
            }
        }
    };
    let description = format!(
        "Each method's {} at its mean over the seeds, with a small mark for each run. The numbers are in the table below.",
        results.score
    );
    picture("scores", height, "Scores", &description, inside)
}

fn swatch_at(style: usize, y: f64) -> Markup {
    html! { g class="mean" { (mark(style, LEFT / 2.0, y, LARGE)) } }
}

/// The loss of a method's runs; all methods' pictures have the same axes.
pub fn curves(results: &Results, index: usize) -> Option<Markup> {
    let method = results.methods.get(index)?;
    let trainings = |method: &'_ Method| -> Vec<Vec<Point>> {
        let trainings = method.runs.iter().filter_map(|run| run.training.clone());
        trainings
            .flat_map(|training| [training.losses, training.validation])
            .collect()
    };
    if !method.runs.iter().any(|run| run.state == State::Done) {
        return None;
    }
    let all: Vec<Point> = results
        .methods
        .iter()
        .flat_map(trainings)
        .flatten()
        .collect();
    let height = 240.0;
    let x = Axis::over(
        all.iter().map(|point| point.step as f64).chain([0.0]),
        LEFT,
        WIDTH - RIGHT,
    );
    let y = Axis::over(
        all.iter().map(|point| point.loss).chain([0.0]),
        height - BOTTOM,
        TOP,
    );
    let line = |points: &[Point]| -> String {
        let places = points
            .iter()
            .map(|point| format!("{},{}", x.at(point.step as f64), y.at(point.loss)));
        places.collect::<Vec<_>>().join(" ")
    };
    let inside = html! {
        (frame(&x, &y, ("step", "loss"), height))
        g class={ "m" (index % STYLES) } {
            @for training in method.runs.iter().filter_map(|run| run.training.as_ref()) {
                @if let [only] = &training.losses[..] {
                    g class="mean" { (mark(index, x.at(only.step as f64), y.at(only.loss), SMALL)) }
                }
                polyline class="training" points=(line(&training.losses)) {}
                @if !training.validation.is_empty() {
                    polyline class="validation" points=(line(&training.validation)) {}
                    g class="mean" {
                        @for point in &training.validation {
                            (mark(index, x.at(point.step as f64), y.at(point.loss), SMALL))
                        }
                    }
                }
            }
        }
    };
    let description = "Loss by step, a line for each seed; dashed lines with marks are the loss of the validation \
                       rows. The numbers are in the table of curves.";
    let title = format!("Loss of {}", method.name);
    Some(picture(
        &format!("curve-{index}"),
        height,
        &title,
        description,
        inside,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_its_values_between_round_marks() {
        for values in [
            vec![0.0, 0.63],
            vec![37.0, 104.2],
            vec![2.0],
            vec![-1e-3, 5e6],
            vec![],
        ] {
            let axis = Axis::over(values.iter().copied(), 0.0, 100.0);
            let ticks = axis.ticks();
            assert!((2..=12).contains(&ticks.len()), "{values:?}: {ticks:?}");
            for value in values {
                assert!(
                    (-0.1..=100.1).contains(&axis.at(value)),
                    "{value}: {}",
                    axis.at(value)
                );
            }
        }
        let axis = Axis::over([0.0, 0.63].into_iter(), 0.0, 100.0);
        let labels: Vec<String> = axis.ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(labels, ["0.0", "0.2", "0.4", "0.6", "0.8"]);
    }

    #[test]
    fn shapes_differ() {
        let marks: std::collections::BTreeSet<String> = (0..STYLES)
            .map(|style| mark(style, 8.0, 8.0, 6.0).into_string())
            .collect();
        assert_eq!(marks.len(), STYLES);
    }
}
