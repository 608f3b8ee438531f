//! Colours, by what they mean. They are the terminal's own, so that they fit its background.

use ratatui::style::{Color, Modifier, Style};

/// The styles of a dashboard.
#[derive(Debug, Clone, Copy)]
pub struct Palette {
    has_colors: bool,
}

impl Palette {
    /// With colours, or in bold and plain only.
    pub fn new(has_colors: bool) -> Self {
        Self { has_colors }
    }

    fn color(self, color: Color) -> Style {
        match self.has_colors {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }

    /// Names, frames, and what is left of a bar.
    pub fn quiet(self) -> Style {
        match self.has_colors {
            true => Style::new().fg(Color::DarkGray),
            false => Style::new().add_modifier(Modifier::DIM),
        }
    }

    /// Numbers that a person looks for.
    pub fn value(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The name of the program, keys.
    pub fn accent(self) -> Style {
        self.color(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What is done and well.
    pub fn good(self) -> Style {
        self.color(Color::Green)
    }

    /// What asks for attention.
    pub fn warning(self) -> Style {
        self.color(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// The loss of each step.
    pub fn faint_line(self) -> Color {
        match self.has_colors {
            true => Color::DarkGray,
            false => Color::Reset,
        }
    }

    /// The averaged loss.
    pub fn line(self) -> Color {
        match self.has_colors {
            true => Color::Cyan,
            false => Color::Reset,
        }
    }

    /// The loss on the rows that are held out.
    pub fn eval_line(self) -> Color {
        match self.has_colors {
            true => Color::Yellow,
            false => Color::Reset,
        }
    }
}
