#!/usr/bin/env bash
# Countdown-mini from nothing: problems and traces, rows, a tokenizer and random weights; a base model that reasons
# sequentially; from it, as in the paper, one model fine-tuned on SPRINT rows and one on RFT rows of the same traces.
# About an hour and a half on two cores. Interrupted, each run goes on from its last checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

rows() { [ -f "work/$1/traces.jsonl" ] || $python -m curation.countdown_rows out="work/$1" "${@:2}"; }
rows countdown
rows countdown2 problems.three=1300 problems.four=3000 problems.seed=2 wholes=0.35 executors=4 drills=11000
rows countdown3 problems.three=1800 problems.four=4000 problems.seed=3 executors=3
[ -f work/mini/base/config.json ] || $python -m training.mini

train() { # OUT MODEL DATASET OVERRIDES...
  $python -m training.train out="work/mini/$1" model="work/mini/$2" dataset="work/$3" "${@:4}"
}
three=recipe.args.per_device_train_batch_size=3
peak() { echo "recipe.args.learning_rate=$1 recipe.args.warmup_ratio=0.02"; }

# The base: sequential traces; then new ones with drills in arithmetic. The first run ends at the step at which
# LOG.md's was stopped, with the learning rate where its longer schedule had it.
train rft base countdown/rft $three +recipe.args.max_steps=3500 +recipe.args.lr_scheduler_kwargs.num_cycles=0.358
train rft2 rft countdown2/rft $three $(peak 1e-3) recipe.args.num_train_epochs=1.43

# The same 4,682 new traces for both, and RFT's epochs chosen so that both see 9.15M tokens.
train sprint3 rft2 countdown3/sprint $(peak 6e-4)
train rft3 rft2 countdown3/rft $three $(peak 6e-4) recipe.args.num_train_epochs=2.226

$python -m training.export checkpoint=work/mini/sprint3 out=models/countdown-mini-sprint
$python -m training.export checkpoint=work/mini/rft3 out=models/countdown-mini-rft
