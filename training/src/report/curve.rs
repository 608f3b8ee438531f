//! The loss curve of a run as a picture (SVG).

use std::io;
use std::ops::Range;
use std::path::Path;

use glmtune_model::checkpoint::AtomicFile;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::Result;

/// Width and height of the picture, in pixels.
const SIZE: (u32, u32) = (1000, 640);
/// Height of the title and the upper panel, which shows the loss.
const LOSS_HEIGHT: u32 = 400;
/// A longer line is thinned: the picture has fewer pixels across than this.
const MAX_POINTS: usize = 2000;
/// The span of the moving average: a fraction of the run, and its limits in points.
const SPAN_FRACTION: f64 = 0.05;
const LEAST_SPAN: f64 = 5.0;
const GREATEST_SPAN: f64 = 200.0;

/// Generic, so that every viewer has it.
const FONT: &str = "sans-serif";
const THIN: RGBColor = RGBColor(150, 190, 225);
const BOLD: RGBColor = RGBColor(20, 90, 160);
const HELD_OUT: RGBColor = RGBColor(30, 130, 60);
const RATE: RGBColor = RGBColor(190, 90, 20);
const GRID: RGBColor = RGBColor(228, 228, 228);

/// Steps with the values of one of the panels.
type Line = Vec<(f64, f64)>;
type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<T> = std::result::Result<T, DrawingAreaErrorKind<io::Error>>;

/// Writes the curve of `points`: steps with their loss and learning rate, in the order of training; and of
/// `held_out`: steps with the loss on rows that are held out.
///
/// Points with a number that is not finite are left out. Where none is left, no file is written.
///
/// # Errors
/// If the file cannot be written.
pub fn write_curve(path: &Path, points: &[(u64, f32, f32)], held_out: &[(u64, f32)]) -> Result<()> {
    let (losses, rates): (Line, Line) = points
        .iter()
        .filter(|(_, loss, rate)| loss.is_finite() && rate.is_finite())
        .map(|&(step, loss, rate)| {
            let step = step as f64;
            ((step, f64::from(loss)), (step, f64::from(rate)))
        })
        .unzip();
    if losses.is_empty() {
        return Ok(());
    }
    let held_out = held_out.iter().filter(|(_, loss)| loss.is_finite());
    let held_out: Line = held_out
        .map(|&(step, loss)| (step as f64, f64::from(loss)))
        .collect();
    let picture = draw(&losses, &held_out, &rates).map_err(|error| {
        let detail = format!("{}: the curve cannot be drawn: {error}", path.display());
        glmtune_model::Error::Compute(detail)
    })?;
    Ok(AtomicFile::write(path, picture.as_bytes())?)
}

fn draw(losses: &[(f64, f64)], held_out: &[(f64, f64)], rates: &[(f64, f64)]) -> Drawn<String> {
    let mut picture = String::new();
    let canvas = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
    canvas.fill(&WHITE)?;
    let (upper, lower) = canvas.split_vertically(LOSS_HEIGHT);
    let titled = upper.titled("Loss during training", (FONT, 26))?;
    draw_losses(&titled, losses, held_out)?;
    draw_rates(&lower, rates)?;
    canvas.present()?;
    drop((canvas, upper, titled, lower));
    Ok(picture)
}

fn draw_losses(panel: &Canvas<'_>, losses: &[(f64, f64)], held_out: &[(f64, f64)]) -> Drawn<()> {
    let mut lines = vec![
        ("each step", THIN, 1, extremes(losses)),
        ("moving average", BOLD, 3, samples(&moving_average(losses))),
    ];
    if !held_out.is_empty() {
        lines.push(("held out", HELD_OUT, 3, extremes(held_out)));
    }
    draw_panel(panel, ("", "loss"), plain, &lines)
}

fn draw_rates(panel: &Canvas<'_>, rates: &[(f64, f64)]) -> Drawn<()> {
    let lines = [("learning rate", RATE, 2, samples(rates))];
    draw_panel(panel, ("step", "learning rate"), scientific, &lines)
}

/// Draws lines, given as name, colour, width and points, over axes on which all of them have room.
fn draw_panel(
    panel: &Canvas<'_>,
    (x_name, y_name): (&str, &str),
    label: fn(f64, f64) -> String,
    lines: &[(&str, RGBColor, u32, Line)],
) -> Drawn<()> {
    let all: Line = lines
        .iter()
        .flat_map(|line| line.3.iter().copied())
        .collect();
    let (x_range, y_range) = (step_range(&all), value_range(&all));
    let (steps, height) = (x_range.end - x_range.start, y_range.end - y_range.start);
    let mut chart = ChartBuilder::on(panel)
        .margin(10)
        .margin_right(30)
        .x_label_area_size(if x_name.is_empty() { 24 } else { 44 })
        .y_label_area_size(84)
        .build_cartesian_2d(x_range, y_range)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .max_light_lines(0)
        .label_style((FONT, 16))
        .axis_desc_style((FONT, 18))
        .x_desc(x_name)
        .y_desc(y_name)
        // No more marks than steps: there is nothing between two of them.
        .x_labels(steps.min(10.0) as usize + 1)
        .y_labels(if lines.len() > 1 { 8 } else { 4 })
        .x_label_formatter(&|step| whole(*step))
        .y_label_formatter(&|value| label(*value, height))
        .draw()?;
    for (name, color, width, points) in lines {
        let style = color.stroke_width(*width);
        // A line of one point would not be seen.
        let dot = if points.len() == 1 { 2 + *width } else { 0 };
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style).point_size(dot))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .legend_area_size(34)
            .margin(8)
            .label_font((FONT, 16))
            .background_style(WHITE.mix(0.8))
            .border_style(GRID)
            .draw()?;
    }
    Ok(())
}

/// The exponential moving average, corrected for its start: no early value counts more than it should.
fn moving_average(points: &[(f64, f64)]) -> Line {
    let span = (points.len() as f64 * SPAN_FRACTION).clamp(LEAST_SPAN, GREATEST_SPAN);
    let keep = 1.0 - 2.0 / (span + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let average = points.iter().map(|&(step, value)| {
        sum = keep * sum + (1.0 - keep) * value;
        weight = keep * weight + (1.0 - keep);
        (step, sum / weight)
    });
    average.collect()
}

/// At most [`MAX_POINTS`] of a line's points: of each stretch the least and the greatest, so that every
/// spike stays.
fn extremes(points: &[(f64, f64)]) -> Line {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MAX_POINTS / 2);
    let kept = points.chunks(stretch).flat_map(|chunk| {
        let by_value = |&a: &usize, &b: &usize| chunk[a].1.total_cmp(&chunk[b].1);
        let least = (0..chunk.len()).min_by(by_value).unwrap_or(0);
        let greatest = (0..chunk.len()).max_by(by_value).unwrap_or(0);
        [chunk[least.min(greatest)], chunk[least.max(greatest)]]
    });
    kept.collect()
}

/// At most [`MAX_POINTS`] of a smooth line's points, evenly spaced.
fn samples(points: &[(f64, f64)]) -> Line {
    let stride = points.len().div_ceil(MAX_POINTS).max(1);
    points.iter().copied().step_by(stride).collect()
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold(
        (f64::INFINITY, f64::NEG_INFINITY),
        |(least, most), value| (least.min(value), most.max(value)),
    )
}

fn step_range(points: &[(f64, f64)]) -> Range<f64> {
    let (first, last) = bounds(points.iter().map(|point| point.0));
    if first < last {
        first..last
    } else {
        (first - 1.0).max(0.0)..first + 1.0
    }
}

/// The values with some air around them, but none below a zero that no value crosses.
fn value_range(points: &[(f64, f64)]) -> Range<f64> {
    let (least, most) = bounds(points.iter().map(|point| point.1));
    let (height, size) = (most - least, most.abs().max(least.abs()));
    let air = if height > 1e-5 * size {
        0.05 * height
    } else if size > 0.0 {
        0.5 * size
    } else {
        1.0
    };
    let floor = if least >= 0.0 { 0.0 } else { f64::MIN };
    (least - air).max(floor)..most + air
}

/// A step; should the axis have a mark between two steps, it gets no label.
fn whole(step: f64) -> String {
    if step.fract() == 0.0 {
        format!("{step:.0}")
    } else {
        String::new()
    }
}

/// A value on an axis of the given height, with the decimals that tell its marks apart.
fn plain(value: f64, height: f64) -> String {
    let decimals = (1.0 - height.log10()).ceil();
    if (0.0..=5.0).contains(&decimals) {
        format!("{value:.*}", decimals as usize)
    } else if (-4.0..0.0).contains(&decimals) {
        format!("{value:.0}")
    } else {
        scientific(value, height)
    }
}

/// A value as `2.5e-5`.
fn scientific(value: f64, height: f64) -> String {
    // The axis's arithmetic may miss zero by a little.
    if value.abs() < 1e-6 * height {
        return "0".to_string();
    }
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let digits = digits.trim_end_matches('0').trim_end_matches('.');
            format!("{digits}e{power}")
        }
        None => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    /// The picture of `points`, if there is one; parts of it must not be missing or not numbers.
    fn picture(points: &[(u64, f32, f32)]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loss.svg");
        write_curve(&path, points, &[]).unwrap();
        let text = std::fs::read_to_string(path).ok()?;
        assert!(text.starts_with("<svg ") && text.trim_end().ends_with("</svg>"));
        assert!(!text.contains("NaN") && !text.contains("inf"));
        for word in ["Loss during training", "loss", "learning rate", "step"] {
            let line = format!("\n{word}\n");
            assert!(text.contains(&line), "{word} is missing");
        }
        Some(text)
    }

    /// A fall with noise and, at the tenth point, a spike.
    fn run(length: u64) -> Vec<(u64, f32, f32)> {
        let point = |step: u64| {
            let noise = ((step * 7919) % 1000) as f32 / 1000.0;
            let done = step as f32 / length as f32;
            let spike = if step == 10 { 3.0 } else { 0.0 };
            (
                step,
                0.4 + 2.5 * (-5.0 * done).exp() + 0.3 * noise + spike,
                1e-4 * (1.0 - done),
            )
        };
        (1..=length).map(point).collect()
    }

    #[test]
    fn a_run_has_lines_for_loss_average_and_rate() {
        let text = picture(&run(300)).unwrap();
        // Besides these, only the borders of the axes and the legend are drawn as lines of several points.
        for color in ["#96BEE1", "#145AA0", "#BE5A14"] {
            let line = format!("<polyline fill=\"none\" opacity=\"1\" stroke=\"{color}\"");
            assert!(text.contains(&line), "no line in {color}");
        }
    }

    #[test]
    fn what_is_held_out_has_a_line_and_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loss.svg");
        let held_out = [(100, 7.5), (200, f32::NAN), (300, 9.5)];
        write_curve(&path, &run(300), &held_out).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("stroke=\"#1E823C\"") && text.contains("\nheld out\n"));
        let marked = "\n8.0\n";
        assert!(text.contains(marked), "an axis up to the greatest loss");
        assert!(!picture(&run(300)).unwrap().contains(marked));
    }

    #[test]
    fn one_point_is_a_dot() {
        let text = picture(&[(1, 2.5, 1e-4)]).unwrap();
        assert!(text.contains("<circle"));
    }

    #[test]
    fn constant_values_and_extremes_are_drawn() {
        for value in [0.0, 2.0, 1e-30, -3.0, f32::MAX, f32::MIN] {
            let points: Vec<_> = (1..50).map(|step| (step, value, value)).collect();
            assert!(picture(&points).is_some());
        }
        let wide = [(0, f32::MIN, 0.0), (u64::MAX, f32::MAX, f32::MIN_POSITIVE)];
        assert!(picture(&wide).is_some());
        assert!(picture(&[(u64::MAX, 1.0, 1.0)]).is_some());
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let mut points = run(20);
        let whole = picture(&points).unwrap();
        points.push((21, f32::NAN, 1e-4));
        points.push((22, f32::INFINITY, 1e-4));
        points.push((23, 1.0, f32::NEG_INFINITY));
        assert_eq!(picture(&points).unwrap(), whole);
        assert_eq!(picture(&points[20..]), None);
        assert_eq!(picture(&[]), None);
    }

    #[test]
    fn a_long_run_stays_small_and_keeps_its_spikes() {
        let points = run(100_000);
        let text = picture(&points).unwrap();
        assert!(text.len() < 100_000, "{} bytes", text.len());
        let line: Line = points
            .iter()
            .map(|p| (p.0 as f64, f64::from(p.1)))
            .collect();
        assert!(samples(&line).len() <= MAX_POINTS);
        let thin = extremes(&line);
        assert!(thin.len() <= MAX_POINTS);
        assert!(thin.contains(&line[9]));
        assert!(thin.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn the_average_starts_at_the_first_value_and_follows() {
        let line: Line = (0..100)
            .map(|step| (f64::from(step), if step < 50 { 4.0 } else { 1.0 }))
            .collect();
        let average = moving_average(&line);
        assert!(
            average[..50]
                .iter()
                .all(|point| (point.1 - 4.0).abs() < 1e-9)
        );
        assert!((average[99].1 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn labels_are_short() {
        assert_eq!(plain(2.5, 3.0), "2.5");
        assert_eq!(plain(0.25, 0.2), "0.25");
        assert_eq!(plain(1500.0, 3000.0), "1500");
        assert_eq!(scientific(1e-4, 1e-4), "1e-4");
        assert_eq!(scientific(2.5e-5, 1e-4), "2.5e-5");
        assert_eq!(scientific(1e-21, 1e-4), "0");
        assert_eq!(whole(0.5), "");
        assert_eq!(whole(12.0), "12");
    }
}
