"""The training loop: Detectron2's trainer with hooks, around our own training step.

Beyond Detectron2's DefaultTrainer: one or several CPU processes, float16 and bfloat16, a finite check before
the weights change, and exact resume (data order and generators too).
"""

import logging
import time
import weakref
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, hooks
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from avis.audio.weights import keep_configured_weights, warn_about_useless_weights
from avis.data import (
    build_test_loader,
    build_train_loader,
    check_num_classes,
    get_metadata,
    is_class_agnostic,
)
from avis.data.catalog import json_file_of
from avis.engine.averaging import build_average
from avis.engine.checkpoint import AVISCheckpointer
from avis.engine.checkpoint_hook import CheckpointHook, try_to_save
from avis.engine.console import MetricPrinter
from avis.engine.distribution import distribute, to_evaluate, unwrapped
from avis.engine.evaluation_hook import EvalHook
from avis.engine.fingerprint import fingerprint
from avis.engine.heartbeat import HeartbeatHook
from avis.engine.incidents import Incidents
from avis.engine.inference_folders import inference_dir
from avis.engine.optimizer import build_gradient_clipper, build_lr_scheduler, build_optimizer
from avis.engine.optimizer_state import load_optimizer, parameter_names, set_learning_rates
from avis.engine.prediction_pictures import PredictionPictures
from avis.engine.profiling import Profiler
from avis.engine.rng import preserved_rng, set_rng_state
from avis.engine.run_folder import SKIPPED
from avis.engine.signals import Stopped, UntilAsked, reason, resume_command, spare_workers
from avis.engine.step_start import StepStart
from avis.engine.tf32 import check_tf32
from avis.engine.trackers import build_trackers, check_trackers, open_on_main
from avis.engine.training_step import TrainingStep
from avis.engine.validation_loss import validation_loss
from avis.evaluation import AVISEvaluator
from avis.evaluation.evaluator import needs_no_classes
from avis.formats.run_metrics import TRAINING_METRICS, end_last_line
from avis.inference.windows import through_windows
from avis.modeling import build_model
from avis.modeling.precision import lower_precision
from avis.structures import Categories
from avis.weights import classes_of, set_classes

logger = logging.getLogger(__name__)

WRITE_PERIOD = 20


class AVISTrainer(TrainerBase):
    """Trains and evaluates what a config describes.

    To change a part, override its ``build_…`` method, as with Detectron2's DefaultTrainer.

    Attributes:
        model: the model; wrapped for distributed training where there are several processes.
        start_iter: the first iteration to run; not 0 after a resume.
        seed: decides the order of the data; SEED, or drawn where SEED is negative.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        self.seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        self.max_iter = cfg.SOLVER.MAX_ITER
        check_trackers(cfg)
        if cfg.SOLVER.TF32:
            check_tf32(cfg.MODEL.DEVICE)
        # Before the model is built, which takes longer.
        self._own_classes = _training_classes(cfg)
        model = self.build_model(cfg)
        set_classes(model, self._own_classes)
        self.model = distribute(model.train(), cfg.SOLVER.FSDP)
        # Of the model itself, because wrapping changes the parameters' names.
        self.optimizer = self.build_optimizer(cfg, unwrapped(self.model))
        self.scheduler = self.build_lr_scheduler(cfg, self.optimizer)
        self.step = _build_step(cfg, self.model, self.optimizer)
        self.incidents = Incidents(
            Path(cfg.OUTPUT_DIR, SKIPPED),
            skip_clips=cfg.DATALOADER.ON_ERROR == "skip",
            max_clips=cfg.DATALOADER.MAX_SKIPPED,
            max_iterations=cfg.SOLVER.MAX_NONFINITE,
        )
        self.checkpointer = AVISCheckpointer(
            self.model,
            cfg.OUTPUT_DIR,
            cfg.dump(),
            build_average(cfg, model),
            cfg.MODEL.EMA_WEIGHTS,
            trainer=weakref.proxy(self),
        )
        self._batches: Iterator[list[dict]]
        self._rng_states: list[dict] = []
        self._results: dict = {}
        self._step_start = StepStart()
        self._save_hook = CheckpointHook(cfg, self.checkpointer)
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the last checkpoint in OUTPUT_DIR, or load MODEL.WEIGHTS and start at iteration 0.

        Args:
            resume: True continues where there is a checkpoint.
        """
        checkpoint = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        keep_configured_weights(self.cfg, self.checkpointer.model)
        if "iteration" in checkpoint:
            self.start_iter = checkpoint["iteration"] + 1
            self._rng_states = checkpoint["rng_states"]
        elif self.checkpointer.average:
            self.checkpointer.average.restart()
        warn_about_useless_weights(self.checkpointer.model)

    def train(self) -> dict:
        """Run the iterations that are left, then evaluate.

        Returns:
            The results of the last evaluation, as `test` returns them; on the main process.

        Raises:
            Stopped: the run was asked to (see `avis.engine.signals`), and is saved.
            Exception: an iteration fails. The state before it is saved, unless numbers were not finite.
        """
        # A test set that is missing or has other categories shows now, not after training.
        self._build_evaluators(self.cfg, self.checkpointer.model)
        if self.start_iter < self.max_iter:
            self._batches = iter(self._open_train_loader())
        else:
            logger.info("All %d iterations are done already", self.max_iter)
        try:
            super().train(self.start_iter, self.max_iter)
        except Stopped:
            self._stop()
            raise
        except FloatingPointError:
            raise  # the weights may be the reason
        except Exception:
            try_to_save(self._save_reached)
            raise
        return self._results

    def before_train(self) -> None:
        """Open the files of metrics, and restore the generators."""
        if writers := open_on_main(self.build_writers):
            self.register_hooks([hooks.PeriodicWriter(writers, period=WRITE_PERIOD)])
        super().before_train()
        # Last, because all before may draw from the generators.
        self._restore_rng()

    def run_step(self) -> None:
        """Train on one batch."""
        start = time.perf_counter()
        self._step_start.begin()
        batch = next(self._batches)
        data_time = time.perf_counter() - start
        self.incidents.note_clips(self.iter, batch)
        metrics = self._learn(batch)
        self._step_start.end(self.iter)
        self.storage.put_scalars(data_time=data_time, **metrics)
        self.storage.put_scalars(smoothing_hint=False, **self.incidents.metrics())
        if self.step.device_type == "cuda":
            max_mem_mb = torch.cuda.max_memory_allocated() / 2**20
            self.storage.put_scalar("max_mem_mb", max_mem_mb, smoothing_hint=False)

    def _learn(self, batch: list[dict]) -> dict[str, float]:
        """Take a step; what it reports, nothing where it is skipped."""
        try:
            metrics = self.step(batch)
        except FloatingPointError as error:
            self.incidents.note_iteration(self.iter, batch, self.checkpointer.model, error)
            return {}
        self.incidents.note_success()
        if self.checkpointer.average and "grad_norm" in metrics:  # else float16 has skipped the update
            self.checkpointer.average.update()
        return metrics

    def after_train(self) -> None:
        """Run the hooks' last step, among them the final evaluation."""
        # TrainerBase counts one too many when no iteration was left.
        self.iter = min(self.iter, self.max_iter)
        super().after_train()

    def state_dict(self) -> dict:
        """What a checkpoint needs beside the model to continue."""
        state = super().state_dict()
        state["seed"] = self.seed
        state["optimizer"] = self.optimizer.state_dict()
        state["parameters"] = parameter_names(self.optimizer, self.checkpointer.model)
        state["grad_scaler"] = self.step.grad_scaler.state_dict()
        state["incidents"] = self.incidents.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over the state of a checkpoint; learning rates, decays and momenta stay the config's."""
        base_lrs, model = self.scheduler.base_lrs, self.checkpointer.model
        super().load_state_dict(state_dict)
        self.seed = state_dict["seed"]
        names = state_dict.get("parameters") or parameter_names(self.optimizer, model)
        load_optimizer(self.optimizer, model, state_dict["optimizer"], names)
        set_learning_rates(self.scheduler, base_lrs)
        if "incidents" in state_dict:  # not in checkpoints of before there were any
            self.incidents.load_state_dict(state_dict["incidents"])
        if state_dict["grad_scaler"]:  # empty where the run did not scale: this one begins to
            self.step.grad_scaler.load_state_dict(state_dict["grad_scaler"])

    def build_hooks(self) -> list[HookBase]:
        """Timing, learning rate, checkpoints and evaluation; the writing of metrics comes after them."""
        trainer_hooks = [hooks.IterationTimer(), hooks.LRScheduler(), self._save_hook, HeartbeatHook()]
        trainer_hooks += [Profiler(self.cfg), PredictionPictures(self.cfg, model=self.checkpointer.model)]
        if test_sets := self.cfg.DATASETS.TEST:
            test = self.cfg.TEST
            best = (self.checkpointer, test.BEST_METRIC, test_sets)
            trainer_hooks.append(EvalHook(test.EVAL_PERIOD, self._evaluate, *best))
        return trainer_hooks

    def build_writers(self) -> list[EventWriter]:
        """Console with ETA, OUTPUT_DIR/training_metrics.json (JSON, a line each), TensorBoard, LOGGING.*."""
        output_dir = Path(self.cfg.OUTPUT_DIR)
        output_dir.mkdir(parents=True, exist_ok=True)
        end_last_line(output_dir / TRAINING_METRICS)
        return [
            MetricPrinter(self.max_iter),
            JSONWriter(str(output_dir / TRAINING_METRICS)),
            *build_trackers(self.cfg),
            TensorboardXWriter(str(output_dir)),
        ]

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model MODEL.META_ARCHITECTURE, on MODEL.DEVICE."""
        return build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Build the optimizer; see `avis.engine.optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
        """Build Detectron2's schedule SOLVER.LR_SCHEDULER_NAME."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(
        cls, cfg: CfgNode, start_iteration: int = 0, classes: Categories | None = None
    ) -> DataLoader:
        """Build the endless loader of DATASETS.TRAIN, standing at an iteration."""
        return build_train_loader(cfg, start_iteration, classes)

    @classmethod
    def build_test_loader(
        cls, cfg: CfgNode, dataset_name: str, skip: Collection[int | str] = ()
    ) -> DataLoader:
        """Build the loader of one data set for evaluation, without the videos to skip."""
        return build_test_loader(cfg, dataset_name, skip)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Build the evaluator, which writes to OUTPUT_DIR/inference/<data set>."""
        folder, threshold = inference_dir(cfg, dataset_name), cfg.MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD
        return AVISEvaluator(dataset_name, str(folder), score_threshold=threshold, tasks=cfg.TEST.TASKS)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, resume: bool = False) -> dict:
        """Evaluate a model on every data set of DATASETS.TEST.

        Args:
            cfg: of the model.
            model: plain or wrapped for distributed training.
            resume: go on where an evaluation of the same model was interrupted.

        Returns:
            The evaluator's results, with several data sets a dict of them; empty off the main process.
        """
        results = OrderedDict()
        with to_evaluate(model) as alone:
            for dataset_name, evaluator in cls._build_evaluators(cfg, alone).items():
                skip = _identify(evaluator, cfg, alone, dataset_name, resume)
                # `skip` only where it is needed: overriding methods may have Detectron2's two arguments
                loader = UntilAsked(cls.build_test_loader(cfg, dataset_name, *([skip] if skip else [])))
                results[dataset_name] = inference_on_dataset(through_windows(cfg, alone), loader, evaluator)
                if cfg.TEST.LOSS:
                    results[dataset_name] |= validation_loss(cfg, alone, dataset_name)
        return next(iter(results.values())) if len(results) == 1 else results

    @classmethod
    def _build_evaluators(cls, cfg: CfgNode, model: nn.Module) -> dict[str, DatasetEvaluator]:
        """The evaluator of each of DATASETS.TEST, ours with the model's classes."""
        evaluators = {name: cls.build_evaluator(cfg, name) for name in cfg.DATASETS.TEST}
        for name, evaluator in evaluators.items():
            if isinstance(evaluator, AVISEvaluator):
                evaluator.match_classes(classes_of(model) or _presumed_classes(cfg, name))
        return evaluators

    def _open_train_loader(self) -> DataLoader:
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.SEED = self.seed
        # `classes` only where it is needed, in a run resumed: overriding methods may have the two arguments
        own, classes = self._own_classes, classes_of(self.checkpointer.model)
        other = {"classes": classes} if own and classes and classes.names != own.names else {}
        return spare_workers(self.build_train_loader(cfg, start_iteration=self.start_iter, **other))

    def _evaluate(self) -> dict:
        average = self.checkpointer.average if self.cfg.MODEL.EMA_WEIGHTS else None
        evaluated = average.applied() if average else nullcontext()
        with preserved_rng(), evaluated:  # training goes on as if nothing had been evaluated
            self._results = self.test(self.cfg, self.model)
        return self._results

    def _stop(self) -> None:
        reached = self._step_start.done
        if reached not in (None, self._save_hook.saved):
            self._save_hook.save(reached)
        done = self.start_iter if reached is None else reached + 1
        why = reason() or "a signal to another process"
        logger.warning("Stopped by %s after %d iterations. Go on by:\n%s", why, done, resume_command())
        comm.synchronize()  # what a launcher does when the first process ends shall not disturb the saving

    def _save_reached(self) -> None:
        """Save the state after the last whole iteration, on the main process alone: others may not answer."""
        reached = self._step_start.done
        if comm.is_main_process() and reached not in (None, self._save_hook.saved):
            self._save_hook.save(reached, [self._step_start.restore()])

    def _restore_rng(self) -> None:
        if len(self._rng_states) == comm.get_world_size():
            set_rng_state(self._rng_states[comm.get_rank()])
        elif self._rng_states:
            logger.warning(
                "The checkpoint has the random numbers of %d processes, this run has %d: it draws others",
                len(self._rng_states),
                comm.get_world_size(),
            )


def _identify(
    evaluator: DatasetEvaluator, cfg: CfgNode, model: nn.Module, dataset_name: str, resume: bool
) -> Collection[int | str]:
    """Tell our evaluator what it evaluates; the videos that an interrupted evaluation of it has done."""
    if not isinstance(evaluator, AVISEvaluator):
        return ()
    run = fingerprint(cfg, model, get_metadata(dataset_name).json_file) if comm.is_main_process() else ""
    return evaluator.identify(comm.all_gather(run)[0], resume)


def _training_classes(cfg: CfgNode) -> Categories | None:
    """The categories of the first training set; None where it is not at hand, and so no training starts."""
    names = cfg.DATASETS.TRAIN
    if not names or not Path(json_file_of(names[0])).is_file():
        return None
    return check_num_classes(cfg, names[0])


def _presumed_classes(cfg: CfgNode, dataset_name: str) -> Categories:
    """What a test set calls the classes of a model that has no names for them."""
    if is_class_agnostic(dataset_name) or needs_no_classes(cfg.TEST.TASKS):
        return Categories.numbered(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
    logger.warning("The weights do not name their classes, which are taken for those of %s", dataset_name)
    return check_num_classes(cfg, dataset_name)


def _build_step(cfg: CfgNode, model: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingStep:
    precision = lower_precision(cfg) if cfg.SOLVER.AMP.ENABLED else None
    options = (build_gradient_clipper(cfg), precision, cfg.SOLVER.TF32, cfg.SOLVER.ACCUMULATE)
    return TrainingStep(model, optimizer, *options)
