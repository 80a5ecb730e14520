"""A plugin of ms-swift: reinforcement learning on rollouts in the place of fine-tuning (training/rl).

`sprint-sgl rl` composes the command. The settings are in the file that the environment variable SPRINT_RL names.
"""

from swift.trainers import TrainerFactory

TrainerFactory.TRAINER_MAPPING["causal_lm"] = "training.rl.trainer.RolloutTrainer"
