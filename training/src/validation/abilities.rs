//! What a model can do beside the task that it is tuned for, before the first step and after the last one.

use std::path::{Path, PathBuf};

use burn::backend::Autodiff;
use glmtune_model::checkpoint::AtomicFile;
use glmtune_model::{CausalLm, GlmBackend};
use serde::{Deserialize, Serialize};

use super::measure::measure;
use super::scorer::Scorer;
use crate::data::Dataset;
use crate::error::Result;
use crate::optim::ops::TrainingBackend;
use crate::parallel::forward::ForwardPlan;
use crate::report::{AbilityRecord, When};

/// Name of the file in the output directory.
const FILE: &str = "abilities.json";

/// An ability: the rows that test it.
#[derive(Debug)]
pub struct Ability<B: GlmBackend> {
    /// Its name.
    pub name: String,
    /// The rows.
    pub dataset: Dataset,
    /// Scores generated answers to them, where the model can generate.
    pub scorer: Option<Box<dyn Scorer<B>>>,
}

/// The abilities that are measured.
#[derive(Debug)]
pub struct Abilities<B: GlmBackend> {
    /// Each with its rows.
    pub all: Vec<Ability<B>>,
    /// Rows of a micro-batch.
    pub batch_size: usize,
}

impl<B: GlmBackend> Abilities<B> {
    /// Digest of all rows.
    pub(crate) fn fingerprint(&self) -> String {
        let all = self.all.iter();
        let digests: Vec<&str> = all.map(|ability| ability.dataset.fingerprint()).collect();
        digests.join("-")
    }
}

impl<B: TrainingBackend> Abilities<B> {
    /// Measures a model that has taken so many steps.
    pub(crate) fn measure(
        &self,
        model: &CausalLm<Autodiff<B>>,
        plan: &ForwardPlan<'_, B>,
        pad_id: u32,
        (when, step): (When, u64),
    ) -> Result<Vec<AbilityRecord>> {
        let records = self.all.iter().map(|ability| {
            let scorer = ability.scorer.as_deref();
            let sizes = (self.batch_size, pad_id);
            let found = measure(model, &ability.dataset, scorer, plan, sizes)?;
            Ok(AbilityRecord {
                step,
                when,
                ability: ability.name.clone(),
                loss: found.loss.mean().unwrap_or(f64::NAN),
                score: found.scores.first().map(|(_, score)| *score),
                rows: ability.dataset.len(),
                targets: found.loss.targets,
            })
        });
        records.collect()
    }
}

/// An ability before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AbilityChange {
    /// The ability.
    pub ability: String,
    /// Number of rows.
    pub rows: usize,
    /// Before the first step.
    pub before: Option<Level>,
    /// After the last one.
    pub after: Option<Level>,
    /// What is left of the score before, in percent.
    pub kept_percent: Option<f64>,
}

/// What a model can do at some step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Steps that were done.
    pub step: u64,
    /// Mean loss over all targets.
    pub loss: Option<f64>,
    /// The score of generated answers, where the model could generate.
    pub score: Option<f64>,
}

/// `abilities.json` in an output directory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AbilityFile {
    /// Digest of the rows.
    data: String,
    /// Each ability.
    pub abilities: Vec<AbilityChange>,
}

impl AbilityFile {
    /// The file of an output directory, if it is of these rows.
    pub(crate) fn read(output_dir: &Path, data: &str) -> Self {
        let text = std::fs::read(path(output_dir)).unwrap_or_default();
        let found = serde_json::from_slice::<Self>(&text).ok();
        found
            .filter(|found| found.data == data)
            .unwrap_or_else(|| Self {
                data: data.to_string(),
                abilities: Vec::new(),
            })
    }

    /// Whether everything was measured then.
    pub(crate) fn is_known(&self, when: When, step: u64) -> bool {
        let level = |change: &AbilityChange| match when {
            When::Before => change.before,
            When::After => change.after,
        };
        let mut all = self.abilities.iter().map(level);
        !self.abilities.is_empty() && all.all(|level| level.is_some_and(|at| at.step == step))
    }

    /// Takes in what was measured.
    pub(crate) fn add(&mut self, records: &[AbilityRecord]) {
        for record in records {
            let change = self.change(record);
            let level = Level {
                step: record.step,
                loss: Some(record.loss).filter(|loss| loss.is_finite()),
                score: record.score,
            };
            match record.when {
                When::Before => (change.before, change.after) = (Some(level), None),
                When::After => change.after = Some(level),
            }
            let score = |level: Option<Level>| level.and_then(|level| level.score);
            change.kept_percent = score(change.before)
                .filter(|before| *before > 0.0)
                .zip(score(change.after))
                .map(|(before, after)| 100.0 * after / before);
        }
    }

    fn change(&mut self, record: &AbilityRecord) -> &mut AbilityChange {
        let known = self.abilities.iter();
        let place = known
            .enumerate()
            .find(|(_, change)| change.ability == record.ability)
            .map(|(place, _)| place);
        let place = place.unwrap_or_else(|| {
            self.abilities.push(AbilityChange {
                ability: record.ability.clone(),
                rows: record.rows,
                before: None,
                after: None,
                kept_percent: None,
            });
            self.abilities.len() - 1
        });
        &mut self.abilities[place]
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) fn write(&self, output_dir: &Path) -> Result<()> {
        let path = path(output_dir);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| glmtune_model::Error::json(&path, error))?;
        Ok(AtomicFile::write(&path, &text)?)
    }

    /// A table for people.
    pub fn table(&self) -> String {
        let number =
            |value: Option<f64>| value.map_or("–".to_string(), |value| format!("{value:.3}"));
        let mut rows = vec![
            [
                "ability",
                "rows",
                "loss before",
                "after",
                "score before",
                "after",
                "kept",
            ]
            .map(str::to_string),
        ];
        rows.extend(self.abilities.iter().map(|change| {
            let (before, after) = (change.before, change.after);
            let kept = change.kept_percent;
            [
                change.ability.clone(),
                change.rows.to_string(),
                number(before.and_then(|level| level.loss)),
                number(after.and_then(|level| level.loss)),
                number(before.and_then(|level| level.score)),
                number(after.and_then(|level| level.score)),
                kept.map_or("–".to_string(), |kept| format!("{kept:.0} %")),
            ]
        }));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or(0));
        let lines = rows.iter().map(|row| {
            let cells = row.iter().zip(widths).enumerate();
            let cells = cells.map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn path(output_dir: &Path) -> PathBuf {
    output_dir.join(FILE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(when: When, ability: &str, loss: f64, score: Option<f64>) -> AbilityRecord {
        AbilityRecord {
            step: if when == When::Before { 0 } else { 9 },
            when,
            ability: ability.to_string(),
            loss,
            score,
            rows: 4,
            targets: 8,
        }
    }

    #[test]
    fn what_is_kept_is_told_once_both_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = AbilityFile::read(folder.path(), "rows");
        file.add(&[
            record(When::Before, "copy", 1.0, Some(0.8)),
            record(When::Before, "sort", 2.0, None),
        ]);
        file.write(folder.path()).unwrap();
        let mut file = AbilityFile::read(folder.path(), "rows");
        assert_eq!(file.abilities[0].kept_percent, None);
        file.add(&[
            record(When::After, "copy", 1.5, Some(0.6)),
            record(When::After, "sort", f64::NAN, None),
        ]);
        let kept = file.abilities[0].kept_percent.unwrap();
        assert!((kept - 75.0).abs() < 1e-9);
        let table = file.table();
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[1].starts_with("copy") && lines[1].ends_with("75 %"),
            "{table}"
        );
        assert!(
            lines[2].contains("2.000") && lines[2].ends_with('–'),
            "{table}"
        );
        let widths = lines.iter().map(|line| line.chars().count());
        assert_eq!(widths.collect::<std::collections::BTreeSet<_>>().len(), 1);
        file.write(folder.path()).unwrap();
        assert_eq!(AbilityFile::read(folder.path(), "rows"), file);
        // Other rows were never measured.
        assert!(
            AbilityFile::read(folder.path(), "other")
                .abilities
                .is_empty()
        );
    }
}
