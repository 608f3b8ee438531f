//! The dynamic loss scale of half precision: gradients too small for it are lifted into its range, and a
//! step whose gradients overflowed is left out (Micikevicius et al. 2018).

use serde::{Deserialize, Serialize};

/// Settings of the loss scale, by DeepSpeed's names and defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LossScaleSettings {
    /// A scale that never changes, in place of a dynamic one.
    pub fixed: Option<f64>,
    /// The dynamic scale starts at 2 to this power.
    pub initial_scale_power: u32,
    /// Steps without overflow after which the scale is doubled.
    pub loss_scale_window: u64,
    /// Overflows after which the scale is halved.
    pub hysteresis: u64,
    /// The least scale.
    pub min_loss_scale: f64,
}

impl Default for LossScaleSettings {
    fn default() -> Self {
        Self {
            fixed: None,
            initial_scale_power: 16,
            loss_scale_window: 1000,
            hysteresis: 2,
            min_loss_scale: 1.0,
        }
    }
}

/// The loss scale as it stands; part of every checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// What the loss is multiplied with.
    pub scale: f64,
    /// Steps since the last overflow or doubling.
    pub good_steps: u64,
    /// Overflows that are still tolerated at this scale.
    pub tolerated: u64,
}

impl LossScale {
    /// The scale that a training starts with.
    pub fn new(settings: &LossScaleSettings) -> Self {
        let power = settings.initial_scale_power.min(1000) as i32;
        Self {
            scale: settings.fixed.unwrap_or_else(|| 2f64.powi(power)),
            good_steps: 0,
            tolerated: settings.hysteresis,
        }
    }

    /// Takes note of a step; tells whether its scale can go no lower although it overflowed.
    pub fn update(&mut self, settings: &LossScaleSettings, overflowed: bool) -> bool {
        if settings.fixed.is_some() {
            return overflowed;
        }
        if overflowed {
            self.good_steps = 0;
            if self.tolerated > 1 {
                self.tolerated -= 1;
                return false;
            }
            let lowest = self.scale <= settings.min_loss_scale;
            self.scale = (self.scale / 2.0).max(settings.min_loss_scale);
            return lowest;
        }
        self.good_steps += 1;
        if self.good_steps >= settings.loss_scale_window {
            self.scale *= 2.0;
            self.good_steps = 0;
            self.tolerated = settings.hysteresis;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_on_overflow_and_doubles_after_a_window() {
        let settings = LossScaleSettings {
            loss_scale_window: 3,
            initial_scale_power: 2,
            ..LossScaleSettings::default()
        };
        let mut scale = LossScale::new(&settings);
        assert_eq!(scale.scale, 4.0);
        // The first overflow is tolerated.
        assert!(!scale.update(&settings, true));
        assert_eq!(scale.scale, 4.0);
        scale.update(&settings, true);
        assert_eq!(scale.scale, 2.0);
        (0..3).for_each(|_| {
            scale.update(&settings, false);
        });
        assert_eq!((scale.scale, scale.tolerated), (4.0, 2));
        let lowest: Vec<bool> = (0..5).map(|_| scale.update(&settings, true)).collect();
        assert_eq!(lowest, [false, false, false, true, true]);
        assert_eq!(scale.scale, 1.0);
    }
}
