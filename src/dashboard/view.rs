//! The state as a picture, for any size of a terminal.

use glmtune_training::observer::Request;
use glmtune_training::report::clock;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Flex, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Padding, Paragraph, Sparkline};

use super::curve;
use super::numbers::{fitted, parameters, percent, rate, short, speed};
use super::palette::Palette;
use super::series::Series;
use super::state::{Mode, State};

/// The least size with frames and a curve.
const LEAST_WIDTH: u16 = 44;
const LEAST_HEIGHT: u16 = 14;
/// From this width on, more curves stand beside that of the loss.
const WIDE: u16 = 110;
const SIDE: u16 = 36;
/// Room for a number.
const LEAST_TILE: usize = 9;
/// Share of the height that notes get at most.
const NOTES_SHARE: u16 = 5;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State, palette: Palette) {
    let area = frame.area();
    if area.width < LEAST_WIDTH || area.height < LEAST_HEIGHT {
        draw_lines(frame, area, state, palette);
    } else {
        draw_panels(frame, area, state, palette);
    }
    if state.mode == Mode::Asking {
        draw_question(frame, area, state, palette);
    }
}

/// Where there is no room for frames: the most important first.
fn draw_lines(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let (done, left) = (progress_text(state), time_text(state));
    let mut lines = vec![Line::styled(done, palette.value()), Line::raw(left)];
    lines.extend(
        numbers(state)
            .into_iter()
            .map(|(name, value)| Line::raw(format!("{name} {value}"))),
    );
    lines.push(status(state, palette));
    lines.push(Line::styled("q stop", palette.quiet()));
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_panels(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let notes = (area.height / NOTES_SHARE).clamp(3, 10);
    let [head, about, bar, tiles, middle, below, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Min(4),
        Constraint::Length(notes),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(frame, head, state, palette);
    draw_about(frame, about, state, palette);
    draw_bar(frame, bar, state, palette);
    draw_tiles(frame, tiles, state, palette);
    draw_notes(frame, below, state, palette);
    draw_keys(frame, keys, state, palette);
    if area.width < WIDE {
        return curve::draw(frame, middle, state, palette);
    }
    let [left, right] =
        Layout::horizontal([Constraint::Min(1), Constraint::Length(SIDE)]).areas(middle);
    curve::draw(frame, left, state, palette);
    draw_side(frame, right, state, palette);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let status = status(state, palette);
    let width = usize::from(area.width).saturating_sub(status.width() + 17);
    let name = Line::from(vec![
        Span::styled(" glmtune train ", palette.accent()),
        Span::styled(fitted(&state.run.labels.run, width), palette.value()),
    ]);
    frame.render_widget(name, area);
    frame.render_widget(status.right_aligned(), area);
}

fn status(state: &State, palette: Palette) -> Line<'static> {
    let (text, style) = match state.mode {
        Mode::Stopping(Request::Discard) => ("stopping after this step ", palette.warning()),
        Mode::Stopping(_) => ("saving and stopping after this step ", palette.warning()),
        _ if state.step() >= state.run.total_steps => ("done ", palette.good()),
        _ => ("training ", palette.good()),
    };
    Line::from(Span::styled(format!("● {text}"), style))
}

fn draw_about(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let (labels, run) = (&state.run.labels, &state.run);
    let share = run.trained as f64 / labels.parameters.max(1) as f64;
    let method = format!(
        "{} ({} of {})",
        labels.method,
        percent(share),
        parameters(labels.parameters)
    );
    let saved = match &state.saved {
        Some((_, name)) => name.clone(),
        None if run.done_steps > 0 => format!("resumed after step {}", run.done_steps),
        None => "nothing yet".to_string(),
    };
    let facts = [
        [("model", labels.model.clone()), ("method", method)],
        [("device", labels.devices.join("; ")), ("saved", saved)],
    ];
    let rows = Layout::vertical([Constraint::Length(1); 2]).split(area);
    for (row, facts) in rows.iter().zip(facts) {
        let columns = Layout::horizontal([Constraint::Fill(1); 2]).split(*row);
        for (column, (name, value)) in columns.iter().zip(facts) {
            let width = usize::from(column.width).saturating_sub(9);
            let line = Line::from(vec![
                Span::styled(format!(" {name:<7}"), palette.quiet()),
                Span::raw(fitted(&value, width)),
            ]);
            frame.render_widget(line, *column);
        }
    }
}

fn progress_text(state: &State) -> String {
    format!(
        "step {}/{}  epoch {}/{}  {:.0} %",
        state.step(),
        state.run.total_steps,
        state.epoch(),
        state.run.epochs,
        (100.0 * state.share()).floor()
    )
}

fn time_text(state: &State) -> String {
    let done = clock(state.elapsed().as_secs_f64());
    match state.left() {
        Some(left) => format!("{done} gone, {} left", clock(left)),
        None => format!("{done} gone"),
    }
}

fn draw_bar(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let (before, after) = (
        format!(" {}  ", progress_text(state)),
        format!("  {} ", time_text(state)),
    );
    let taken = before.chars().count() + after.chars().count();
    let width = usize::from(area.width).saturating_sub(taken);
    let done = (state.share() * width as f64).floor() as usize;
    let line = Line::from(vec![
        Span::styled(before, palette.value()),
        Span::styled("━".repeat(done), palette.good()),
        Span::styled("─".repeat(width - done), palette.quiet()),
        Span::raw(after),
    ]);
    frame.render_widget(line, area);
}

fn numbers(state: &State) -> Vec<(&'static str, String)> {
    let last = state.last.unwrap_or_default();
    let known = |text: String| match state.last {
        Some(_) => text,
        None => "–".to_string(),
    };
    let smooth = |series: &Series| series.smooth().unwrap_or(f64::NAN);
    let mut numbers = vec![
        ("loss", known(short(last.loss))),
        ("averaged", short(smooth(&state.loss))),
    ];
    if let Some(loss) = state.eval_loss.smooth() {
        numbers.push(("held out", short(loss)));
    }
    if let Some(score) = state.validation.as_ref().and_then(|last| last.score) {
        numbers.push(("score", short(score)));
    }
    numbers.extend([
        ("learning rate", known(rate(last.lr))),
        ("grad norm", known(short(last.grad_norm))),
        ("tokens/s", speed(smooth(&state.speed))),
        ("memory", known(format!("{:.2} GiB", last.memory_gib()))),
    ]);
    numbers
}

fn draw_tiles(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let numbers = numbers(state);
    let widths = numbers.iter().map(|(name, _)| {
        let width = name.chars().count().max(LEAST_TILE) + 2;
        Constraint::Length(width as u16)
    });
    let tiles = Layout::horizontal(widths)
        .flex(Flex::SpaceBetween)
        .split(area);
    for (tile, (name, value)) in tiles.iter().zip(numbers) {
        let width = usize::from(tile.width).saturating_sub(1);
        let lines = vec![
            Line::default(),
            Line::styled(format!(" {}", fitted(name, width)), palette.quiet()),
            Line::styled(format!(" {}", fitted(&value, width)), palette.value()),
        ];
        frame.render_widget(Paragraph::new(lines), *tile);
    }
}

fn framed(title: String, palette: Palette) -> Block<'static> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(palette.quiet())
        .title(Span::styled(title, palette.value()))
}

fn draw_side(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let last = state.last.unwrap_or_default();
    let charts: [(&str, &Series, String, Style); 3] = [
        (
            "learning rate",
            &state.rate,
            rate(last.lr),
            palette.accent(),
        ),
        (
            "grad norm",
            &state.norm,
            short(last.grad_norm),
            palette.warning(),
        ),
        (
            "tokens/s",
            &state.speed,
            speed(last.speed()),
            palette.good(),
        ),
    ];
    let panels = Layout::vertical([Constraint::Fill(1); 3]).split(area);
    for (panel, (name, series, value, style)) in panels.iter().zip(charts) {
        let value = if state.last.is_some() {
            value
        } else {
            String::new()
        };
        let block = framed(format!(" {name} {value} "), palette);
        let columns = series.columns(usize::from(block.inner(*panel).width));
        let most = columns.iter().copied().fold(0.0, f64::max);
        // Bars start at nothing, so that their heights compare.
        let heights = columns.iter().map(|value| (1000.0 * value / most) as u64);
        let bars = Sparkline::default()
            .data(heights.collect::<Vec<_>>())
            .max(1000)
            .style(style.remove_modifier(ratatui::style::Modifier::BOLD))
            .block(block);
        frame.render_widget(bars, *panel);
    }
}

fn draw_notes(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let block = framed(" notes ".to_string(), palette);
    let inner = block.inner(area);
    let shown = usize::from(inner.height).min(state.notes.len());
    let width = usize::from(inner.width);
    let notes = state.notes.range(state.notes.len() - shown..);
    let lines: Vec<Line<'_>> = notes.map(|note| Line::raw(fitted(note, width))).collect();
    frame.render_widget(block, area);
    frame.render_widget(Paragraph::new(lines), inner);
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let keys: &[(&str, &str)] = match state.mode {
        Mode::Stopping(_) => &[("Ctrl-C", "stop at once, without saving")],
        _ => &[
            ("q", "stop"),
            ("l", "log scale"),
            ("Ctrl-C", "save and stop"),
        ],
    };
    let spans = keys.iter().flat_map(|(key, what)| {
        [
            Span::styled(format!(" {key} "), palette.accent()),
            Span::styled(format!("{what}  "), palette.quiet()),
        ]
    });
    frame.render_widget(Line::from(spans.collect::<Vec<_>>()), area);
}

fn draw_question(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let unsaved = match state.unsaved_steps() {
        1 => "1 step".to_string(),
        steps => format!("{steps} steps"),
    };
    let choice = |key: &'static str, text: String| {
        Line::from(vec![
            Span::styled(format!("{key:>3}  "), palette.accent()),
            Span::raw(text),
        ])
    };
    let lines = vec![
        choice("s", "save and stop; --resume goes on".to_string()),
        choice("d", format!("stop and discard {unsaved}")),
        choice("Esc", "go on".to_string()),
    ];
    let (width, height) = (42.min(area.width), 7.min(area.height));
    let place = Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    );
    let padding = match height {
        7 => Padding::uniform(1),
        _ => Padding::ZERO,
    };
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(palette.warning())
        .title(Span::styled(" Stop the training? ", palette.value()))
        .title_alignment(Alignment::Center)
        .padding(padding);
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use glmtune_training::observer::Event;
    use glmtune_training::report::{EvalRecord, StepRecord};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::state::tests::{record, state};
    use super::*;

    fn screen(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| draw(frame, state, Palette::new(true)))
            .unwrap();
        let cells = terminal.backend().buffer().content();
        cells
            .chunks(usize::from(width))
            .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n")
            .collect()
    }

    #[track_caller]
    fn shows(screen: &str, texts: &[&str]) {
        for text in texts {
            assert!(screen.contains(text), "{text} is missing:\n{screen}");
        }
    }

    #[test]
    fn a_small_terminal_shows_everything() {
        let screen = screen(&state(150), 80, 24);
        shows(
            &screen,
            &[
                "glmtune train out/first-run",
                "● training",
                "model  chatglm3-6b",
                "lora, rank 8 (0.03 % of 6.2 B)",
                "flex (CPU, 2 threads), f32",
                "saved  epoch-1-step-100",
                "step 150/400  epoch 2/4  37 %",
                "0:01:15 gone, 0:02:05 left",
                "loss",
                "averaged",
                "learning rate",
                "grad norm",
                "tokens/s",
                "memory",
                "6.25e-4",
                "4096",
                "13.00 GiB",
                "step 1 ",
                " 150",
                "saved out/first-run/epoch-1-step-100",
                "q stop",
            ],
        );
        assert!(
            screen.contains('⠁')
                || screen
                    .chars()
                    .any(|c| ('\u{2801}'..'\u{28ff}').contains(&c))
        );
    }

    #[test]
    fn a_wide_terminal_shows_more_curves() {
        let screen = screen(&state(150), 120, 40);
        shows(
            &screen,
            &[
                "╭ learning rate 6.25e-4",
                "╭ grad norm",
                "╭ tokens/s 4096",
                "█",
            ],
        );
    }

    #[test]
    fn before_the_first_step() {
        let screen = screen(&state(0), 80, 24);
        shows(
            &screen,
            &["waiting for the first step", "step 0/400", "nothing yet"],
        );
        assert!(!screen.contains("left"), "{screen}");
    }

    #[test]
    fn a_question_names_what_would_be_lost() {
        let mut state = state(130);
        state.mode = Mode::Asking;
        let screen = screen(&state, 80, 24);
        shows(
            &screen,
            &[
                "Stop the training?",
                "save and stop",
                "discard 30 steps",
                "Esc  go on",
            ],
        );
    }

    #[test]
    fn a_held_out_split_joins_the_curve() {
        let mut state = state(100);
        let at = EvalRecord {
            step: 100,
            loss: 0.5,
            score: Some(0.75),
            score_name: Some("f1".to_string()),
            ..EvalRecord::default()
        };
        state.notice(&Event::Evaluated(&at), state.elapsed());
        let screen = screen(&state, 100, 30);
        shows(
            &screen,
            &["held out", "0.5000", "score", "0.7500", "eval at step 100"],
        );
    }

    #[test]
    fn any_size_is_drawn() {
        let mut odd = state(3);
        for loss in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e300, -1e300, 1e-300] {
            let step = odd.step() + 1;
            let at = StepRecord {
                loss,
                grad_norm: loss,
                lr: loss,
                ..record(step)
            };
            odd.notice(&Event::Step(&at), odd.elapsed());
        }
        let mut asking = state(130);
        asking.mode = Mode::Asking;
        let mut log = odd.clone();
        log.is_log_scale = true;
        for state in [state(0), state(1), state(150), asking, odd, log] {
            for width in (1..=50).chain([79, 80, 109, 110, 111, 200]) {
                for height in (1..=30).chain([60]) {
                    screen(&state, width, height);
                }
            }
        }
    }
}
