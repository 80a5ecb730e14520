#!/usr/bin/env bash
# Countdown-mini from nothing: problems and traces, rows, a tokenizer and random weights, two rounds of training
# for each of the two models, two models. About two hours on two cores, both trainings side by side. Interrupted,
# each run goes on from its last checkpoint.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
mkdir -p work/mini

# Round 1: 9,600 problems; every trajectory as a transcript, and two of its executor calls.
[ -f work/countdown/traces.jsonl ] || $python -m curation.countdown_rows
# Round 2: 4,300 new problems, four executor calls each, a third of the transcripts, and drills in arithmetic.
[ -f work/countdown2/traces.jsonl ] || $python -m curation.countdown_rows out=work/countdown2 \
  problems.three=1300 problems.four=3000 problems.seed=2 wholes=0.35 executors=4 drills=11000
[ -f work/mini/base/config.json ] || $python -m training.mini

# Both models see the same problems and drills, and about the same number of tokens: 19.4M. Round 1 ends at the
# step at which LOG.md's run was stopped, with the learning rate where its longer schedule had it.
train() { $python -m training.train "$@"; }
cosine() { echo "+recipe.args.max_steps=$1 +recipe.args.lr_scheduler_kwargs.num_cycles=$2"; }
round2="recipe.args.learning_rate=1e-3 recipe.args.warmup_ratio=0.02"
three="recipe.args.per_device_train_batch_size=3"
{
  train model=work/mini/base dataset=work/countdown/sprint out=work/mini/sprint $(cosine 4500 0.387) &&
    train model=work/mini/sprint dataset=work/countdown2/sprint out=work/mini/sprint2 $round2
} >work/mini/sprint.log 2>&1 &
first=$!
{
  train model=work/mini/base dataset=work/countdown/rft out=work/mini/rft $three $(cosine 3500 0.358) &&
    train model=work/mini/rft dataset=work/countdown2/rft out=work/mini/rft2 $three $round2 \
      recipe.args.num_train_epochs=1.43
} >work/mini/rft.log 2>&1 &
second=$!
wait $first
wait $second

$python -m training.export checkpoint=work/mini/sprint2 out=models/countdown-mini-sprint
$python -m training.export checkpoint=work/mini/rft2 out=models/countdown-mini-rft
