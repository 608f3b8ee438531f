//! The curve of the loss with its axes.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::canvas::{Canvas, Context, Line as Stroke, Points};
use ratatui::widgets::{Block, BorderType};

use super::axis::Axis;
use super::palette::Palette;
use super::series::{Series, Stretch};
use super::state::State;

/// What logarithms start from: a loss of nothing has none.
const LEAST: f64 = 1e-12;

/// Draws the curve, where there is room for one.
pub fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(palette.quiet())
        .title(legend(state, palette));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if inner.width < 12 || inner.height < 3 {
        return;
    }
    let Some(bounds) = Bounds::of(state, inner.height) else {
        return waiting(frame, inner, palette);
    };
    let labels: Vec<(f64, String)> = bounds.labels(state.is_log_scale);
    let gutter = labels.iter().map(|(_, label)| label.len()).max();
    let gutter = gutter.unwrap_or(0) as u16 + 1;
    let [above, below] = Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(inner);
    let [left, plot] =
        Layout::horizontal([Constraint::Length(gutter), Constraint::Min(1)]).areas(above);
    for (mark, label) in &labels {
        let share = (bounds.high - mark) / (bounds.high - bounds.low);
        let row = (share * f64::from(left.height.saturating_sub(1))).round() as u16;
        let at = Rect::new(left.x, left.y + row.min(left.height - 1), left.width, 1);
        let label = format!("{label:>width$}", width = usize::from(gutter) - 1);
        frame.render_widget(Span::styled(label, palette.quiet()), at);
    }
    draw_steps(
        frame,
        Rect::new(plot.x, below.y, plot.width, 1),
        &bounds,
        palette,
    );
    let canvas = Canvas::default()
        .marker(Marker::Braille)
        .x_bounds([bounds.first, bounds.last])
        .y_bounds([bounds.low, bounds.high])
        .paint(|context| paint(context, state, palette));
    frame.render_widget(canvas, plot);
}

fn legend(state: &State, palette: Palette) -> Line<'static> {
    let mut spans = vec![
        Span::styled(" loss ", palette.value()),
        Span::styled("each step ", palette.faint_line()),
        Span::styled("averaged ", palette.line()),
    ];
    if !state.eval_loss.stretches().is_empty() {
        spans.push(Span::styled("held out ", palette.eval_line()));
    }
    if state.is_log_scale {
        spans.push(Span::styled("log scale ", palette.quiet()));
    }
    Line::from(spans)
}

fn waiting(frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let [_, middle, _] = Layout::vertical([
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Fill(1),
    ])
    .areas(area);
    let text = Line::styled("waiting for the first step", palette.quiet()).centered();
    frame.render_widget(text, middle);
}

/// First, middle and last step below the plot.
fn draw_steps(frame: &mut Frame<'_>, area: Rect, bounds: &Bounds, palette: Palette) {
    let middle = ((bounds.first + bounds.last) / 2.0).round();
    let texts = [bounds.first, middle, bounds.last].map(|step| format!("{step:.0}"));
    let [first, middle, last] = texts;
    let line = Line::styled(format!("step {first}"), palette.quiet());
    frame.render_widget(line, area);
    let taken = 5 + first.len() + last.len() + middle.len() + 4;
    if bounds.last - bounds.first > 1.5 && usize::from(area.width) > taken {
        frame.render_widget(Line::styled(middle, palette.quiet()).centered(), area);
    }
    if bounds.last > bounds.first && usize::from(area.width) > 7 + first.len() + last.len() {
        frame.render_widget(Line::styled(last, palette.quiet()).right_aligned(), area);
    }
}

/// What the plot spans; values are logarithms on a logarithmic scale.
struct Bounds {
    first: f64,
    last: f64,
    low: f64,
    high: f64,
    axis: Axis,
}

impl Bounds {
    fn of(state: &State, rows: u16) -> Option<Self> {
        let all = || {
            let eval = state.eval_loss.stretches();
            state.loss.stretches().iter().chain(eval)
        };
        let first = all().map(|stretch| stretch.step).min()? as f64;
        let last = all().map(|stretch| stretch.step).max()? as f64;
        let low = all().map(|stretch| stretch.low).reduce(f64::min)?;
        let high = all().map(|stretch| stretch.high).reduce(f64::max)?;
        let scale = scale(state);
        let axis = Axis::around(scale(low), scale(high), usize::from(rows) / 2 + 1);
        Some(Self {
            first: first.min(last - 1.0).max(0.0),
            last,
            low: axis.low,
            high: axis.high,
            axis,
        })
    }

    fn labels(&self, is_log: bool) -> Vec<(f64, String)> {
        let label = |mark: f64| match is_log {
            true => super::numbers::short(10f64.powf(mark)),
            false => self.axis.label(mark),
        };
        self.axis.marks().map(|mark| (mark, label(mark))).collect()
    }
}

fn scale(state: &State) -> fn(f64) -> f64 {
    match state.is_log_scale {
        true => |value| value.max(LEAST).log10(),
        false => |value| value,
    }
}

fn paint(context: &mut Context<'_>, state: &State, palette: Palette) {
    let scale = scale(state);
    for stretch in state.loss.stretches() {
        let step = stretch.step as f64;
        let (low, high) = (scale(stretch.low), scale(stretch.high));
        context.draw(&Stroke::new(step, low, step, high, palette.faint_line()));
    }
    context.layer();
    paint_line(context, &state.loss, scale, |at| at.smooth, palette.line());
    let eval = &state.eval_loss;
    paint_line(context, eval, scale, |at| at.smooth, palette.eval_line());
}

fn paint_line(
    context: &mut Context<'_>,
    series: &Series,
    scale: fn(f64) -> f64,
    value: fn(&Stretch) -> f64,
    color: Color,
) {
    let points = series.stretches().iter();
    let points: Vec<(f64, f64)> = points
        .map(|at| (at.step as f64, scale(value(at))))
        .collect();
    for pair in points.windows(2) {
        let ((x1, y1), (x2, y2)) = (pair[0], pair[1]);
        context.draw(&Stroke::new(x1, y1, x2, y2, color));
    }
    if points.len() == 1 {
        context.draw(&Points::new(&points, color));
    }
}
