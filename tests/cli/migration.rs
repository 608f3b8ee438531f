//! Coming from the Python project: its command lines, and files in the forms that its world opens.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser;
use glmtune::cli::{Cli, Command, MergeArgs, TrainArgs, normalize};
use glmtune::model::adapters::{PrefixAdapter, StoredAdapter};
use glmtune::model::checkpoint::Checkpoint;

use crate::common::data;
use crate::{glmtune, tiny};

/// The words of a command line as a shell splits them: quotes hold spaces together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The command line with the script's name, and what starts it, replaced.
fn translated(line: &str) -> Vec<OsString> {
    let words = words(line);
    let script = words.iter().position(|word| word.ends_with(".py")).unwrap();
    let command = match words[script].as_str() {
        "merge_lora.py" => "merge",
        _ => "train",
    };
    let flags = words[script + 1..].iter().cloned();
    let all = ["glmtune".to_string(), command.to_string()].into_iter();
    normalize(all.chain(flags).map(OsString::from))
}

fn command_lines() -> Vec<String> {
    let text = std::fs::read_to_string(data("migration").join("command_lines.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_string).collect()
}

fn parse(line: &str) -> Command {
    match Cli::try_parse_from(translated(line)) {
        Ok(cli) => cli.command,
        Err(error) => panic!("{line}\n{error}"),
    }
}

fn training(line: &str) -> TrainArgs {
    match parse(line) {
        Command::Train(args) => *args,
        _ => panic!("no training: {line}"),
    }
}

fn merging(line: &str) -> MergeArgs {
    match parse(line) {
        Command::Merge(args) => args,
        _ => panic!("no merge: {line}"),
    }
}

#[test]
fn every_command_line_of_the_python_project_is_understood() {
    let lines = command_lines();
    assert!(lines.len() >= 14);
    for line in &lines {
        parse(line);
    }
}

#[test]
fn names_of_the_first_release_mean_what_they_meant() {
    let args = training(
        "deepspeed finetuning_lora.py --model_dir M --train_path r --output_dir o --train_batch_size 2 \
         --log_steps 7 --lora_r 4",
    );
    assert_eq!(args.model.model_name_or_path, Path::new("M"));
    assert_eq!(args.per_device_train_batch_size, 2);
    assert_eq!(args.show_loss_step, 7);
    assert_eq!(args.method.lora_dim, Some(4));
    let args = training(
        "deepspeed train_pipeline.py --model_name_or_path M --train_path r --output_dir o --num_stages 4",
    );
    assert_eq!(args.pipeline_stages, 4);
}

#[test]
fn deepspeeds_own_arguments() {
    let line = |more: &str| {
        training(&format!(
            "deepspeed train.py --model_name_or_path M --train_path r --output_dir o {more} --seed 3"
        ))
    };
    assert_eq!(line("--deepspeed").deepspeed_file(), None);
    let file = Some(Path::new("ds.json"));
    for more in [
        "--deepspeed ds.json",
        "--deepspeed=ds.json",
        "--deepspeed_config ds.json",
        "--deepspeed --deepspeed_config ds.json",
        "--deepspeed --ds_file ds.json",
    ] {
        assert_eq!(line(more).deepspeed_file(), file, "{more}");
    }
    assert_eq!(line("--local_rank=-1 --deepspeed").seed, 3);
}

#[test]
fn merging_by_the_scripts_names() {
    let args = merging("python merge_lora.py --ori_model_dir B --model_dir A/ --mode glm2");
    assert_eq!(args.model_name_or_path, Path::new("B"));
    assert_eq!(args.adapter, [Path::new("A/")]);
    assert_eq!(args.output_dir, None);
}

/// Trains for a few steps on a tiny model of a mode; gives the one output.
fn train(dir: &Path, model: &str, more: &[&str]) -> std::path::PathBuf {
    let rows = dir.join("rows.jsonl");
    let row = "{\"instruction\": \"a\", \"input\": \"b\", \"output\": \"c\"}\n";
    std::fs::write(&rows, row.repeat(4)).unwrap();
    let output = dir.join("out");
    let _ = std::fs::remove_dir_all(&output);
    let mut args = vec!["train", "--backend", "flex", "--no_cache", "--dtype", "f32"];
    args.extend(["--model_name_or_path", model]);
    args.extend(["--train_path", rows.to_str().unwrap()]);
    args.extend(["--output_dir", output.to_str().unwrap()]);
    args.extend(["--per_device_train_batch_size", "2"]);
    args.extend(more);
    glmtune(&args).success();
    output.join("epoch-1-step-2")
}

#[test]
fn a_prefix_in_the_form_that_the_official_script_opens() {
    let (dir, model) = tiny("glm2");
    let more = ["--train_type", "ptuning", "--pre_seq_len", "3"];
    let as_safetensors = train(dir.path(), &model, &more);
    let bytes = |output: &Path| {
        let adapter = PrefixAdapter::open(output).unwrap();
        let names = adapter.tensors().into_iter();
        let read = |name: &str| adapter.read(name, glmtune::model::checkpoint::DType::F32);
        names
            .map(|info| (info.name.clone(), read(&info.name).unwrap().bytes))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let expected = bytes(&as_safetensors);
    let output = train(
        dir.path(),
        &model,
        &[&more[..], &["--save_safetensors", "False"]].concat(),
    );
    assert!(output.join("pytorch_model.bin").exists());
    assert!(!output.join("model.safetensors").exists());
    assert_eq!(bytes(&output), expected);
    // What it is for: `generate` reads it as well.
    let args = ["generate", "--backend", "flex", "--prompt", "a"];
    let adapter = ["--adapter", output.to_str().unwrap()];
    let args = [&args[..], &["--model_name_or_path", &model], &adapter].concat();
    glmtune(&[&args[..], &["--max_new_tokens", "2"]].concat()).success();
}

#[test]
fn tokenizer_files_come_with_an_adapter_on_request() {
    let (dir, model) = tiny("glm2");
    let output = train(dir.path(), &model, &[]);
    assert!(!output.join("tokenizer.json").exists());
    let output = train(dir.path(), &model, &["--save_tokenizer"]);
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let (of_base, beside) = (Path::new(&model).join(name), output.join(name));
        if of_base.exists() {
            assert_eq!(
                std::fs::read(of_base).unwrap(),
                std::fs::read(beside).unwrap()
            );
        }
    }
    assert!(output.join("tokenizer.json").exists());
}

#[test]
fn a_whole_model_has_one_format() {
    let (_dir, model) = tiny("glm2");
    let args = ["train", "--train_type", "all", "--save_safetensors", "0"];
    let paths = ["--train_path", "r", "--output_dir", "o"];
    let args = [&args[..], &["--model_name_or_path", &model], &paths].concat();
    assert!(glmtune(&args).failure(2).contains("--save_safetensors"));
}

#[test]
fn a_merge_without_an_output_directory_goes_beside_the_adapter() {
    let (dir, model) = tiny("glm2");
    let adapter = train(dir.path(), &model, &[]);
    let given = format!("{}/", adapter.display());
    let args = ["merge", "--ori_model_dir", &model, "--model_dir", &given];
    let run = glmtune(&args);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let merged = dir.path().join("out/epoch-1-step-2-merged");
    assert!(run.stderr.contains(merged.to_str().unwrap()));
    assert!(Checkpoint::open(&merged).is_ok());
    assert!(glmtune(&args).failure(2).contains("epoch-1-step-2-merged"));
}
