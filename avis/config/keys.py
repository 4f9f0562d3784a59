"""Every config key that AVIS adds to Detectron2's, with its default and one line on what it does.

Keys that Mask2Former has keep their names and meaning. The defaults are the paper's baseline.
"""

from detectron2.config import CfgNode


def add_avis_config(cfg: CfgNode) -> None:
    """Add the AVIS keys to a Detectron2 config, in place."""
    # Modules of yours to import first, such as ["my_package.my_fusion"]: they register parts and add keys.
    cfg.IMPORTS = []
    # True, or --overwrite: a new training deletes checkpoints and metrics of an earlier one in OUTPUT_DIR.
    cfg.OVERWRITE_OUTPUT = False
    cfg.MODEL.META_ARCHITECTURE = "AVISMaskFormer"
    # Parts whose activations are computed again in the backward pass, any of "backbone", "encoder" (of the
    # pixel decoder) and "decoder": less memory, more time, the same gradients.
    cfg.MODEL.CHECKPOINTING = []
    # Patterns of names of parameters that shall not learn, such as ["backbone.*", "*.query_feat.weight"].
    # Batch norms among them go on taking statistics.
    cfg.MODEL.FREEZE = []
    # Of files with averaged weights (SOLVER.EMA_DECAY), True takes these, in evaluation, prediction and
    # training that starts from them; False: those trained last. --resume goes on with both.
    cfg.MODEL.EMA_WEIGHTS = True
    # True: batch norms that learn, of backbone, audio backbone and fusion, take their statistics over the
    # clips of all processes.
    cfg.MODEL.SYNC_BN = False
    # Minutes that a process of a run waits for the others, at the start and in each step.
    cfg.TIMEOUT_MINUTES = 30.0
    # The iterations of a training that are profiled, such as (10, 20), into OUTPUT_DIR/profile; (): none.
    cfg.PROFILE = ()
    _add_logging_config(cfg)
    _add_backbone_config(cfg)
    _add_audio_config(cfg)
    _add_mask_former_config(cfg)
    _add_clip_decoder_config(cfg)
    _add_input_config(cfg)
    _add_solver_config(cfg)


def hears(cfg: CfgNode) -> bool:
    """Whether anything of the model takes audio features; if nothing does, nothing shall compute them."""
    model = cfg.MODEL
    listeners = (
        model.FUSION.NAME,
        model.MASK_FORMER.AUDIO_QUERY,
        model.MASK_FORMER.SOUNDING_GATE,
        model.TEMPORAL_FUSION.NAME,
    )
    return bool(model.AUDIO.NAME and any(listeners))


def checkpoints(cfg: CfgNode, part: str) -> bool:
    """Whether a part's activations are computed again in the backward pass.

    Raises:
        ValueError: MODEL.CHECKPOINTING names another part than there are.
    """
    if unknown := set(cfg.MODEL.CHECKPOINTING) - {"backbone", "encoder", "decoder"}:
        raise ValueError(
            f"MODEL.CHECKPOINTING has {sorted(unknown)}; it lists any of 'backbone', 'encoder' and 'decoder'"
        )
    return part in cfg.MODEL.CHECKPOINTING


def _add_logging_config(cfg: CfgNode) -> None:
    cfg.LOGGING = CfgNode()
    # True: metrics also go to Weights & Biases (pip install wandb). NAME "" lets it choose one.
    cfg.LOGGING.WANDB = CfgNode()
    cfg.LOGGING.WANDB.ENABLED = False
    cfg.LOGGING.WANDB.PROJECT = "avis"
    cfg.LOGGING.WANDB.NAME = ""
    # True: metrics also go to MLflow (pip install mlflow-skinny). TRACKING_URI "" is MLFLOW_TRACKING_URI.
    cfg.LOGGING.MLFLOW = CfgNode()
    cfg.LOGGING.MLFLOW.ENABLED = False
    cfg.LOGGING.MLFLOW.EXPERIMENT = "avis"
    cfg.LOGGING.MLFLOW.NAME = ""
    cfg.LOGGING.MLFLOW.TRACKING_URI = ""


def _add_backbone_config(cfg: CfgNode) -> None:
    cfg.MODEL.TIMM = CfgNode()
    # For MODEL.BACKBONE.NAME "build_timm_backbone": a model as timm lists it, its outputs, stochastic depth.
    cfg.MODEL.TIMM.NAME = ""
    cfg.MODEL.TIMM.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.TIMM.DROP_PATH_RATE = 0.0
    # True: activations are computed again in the backward pass: less memory, more time, the same gradients.
    cfg.MODEL.TIMM.GRAD_CHECKPOINTING = False


def _add_audio_config(cfg: CfgNode) -> None:
    cfg.MODEL.AUDIO = CfgNode()
    # A name in AUDIO_BACKBONE_REGISTRY ("VGGish", "AudioCNN", "PrecomputedFeatures"); "": no audio branch.
    cfg.MODEL.AUDIO.NAME = "VGGish"
    # Weights of the audio backbone alone (torchvggish's .pth for VGGish); "" leaves them to MODEL.WEIGHTS.
    cfg.MODEL.AUDIO.WEIGHTS = ""
    # True: the audio backbone is not trained. Precomputed features need a frozen one.
    cfg.MODEL.AUDIO.FREEZE = True
    # Channels of the audio features, (T, FEATURE_DIM).
    cfg.MODEL.AUDIO.FEATURE_DIM = 128
    # True: VGGish's features pass its published post-processing (PCA, 8 bit), and are whole numbers 0 … 255.
    cfg.MODEL.AUDIO.POSTPROCESS = False
    # Its PCA: torchvggish's vggish_pca_params-….pth or AudioSet's .npz; "": WEIGHTS has it, as ACVIS's has.
    cfg.MODEL.AUDIO.PCA_WEIGHTS = ""

    cfg.MODEL.FUSION = CfgNode()
    # A name in AV_FUSION_REGISTRY ("TPAVI"); "" leaves the visual features as they are.
    cfg.MODEL.FUSION.NAME = "TPAVI"
    # The features that are fused with the audio features.
    cfg.MODEL.FUSION.IN_FEATURES = ["res3", "res4", "res5"]
    # "backbone": features of all frames are fused; "pixel_decoder": frame by frame, before its encoder.
    cfg.MODEL.FUSION.AT = "backbone"


def _add_mask_former_config(cfg: CfgNode) -> None:
    cfg.MODEL.MASK_FORMER = mask_former = CfgNode()
    # A name in TRANSFORMER_DECODER_REGISTRY: over the pixels of whole clips, or "FrameClipDecoder", which
    # decodes frames apart and joins their queries.
    mask_former.TRANSFORMER_DECODER_NAME = "VideoMultiScaleMaskedTransformerDecoder"
    # Channels of queries and features; attention heads; width of the feed-forward layers.
    mask_former.HIDDEN_DIM = 256
    mask_former.NHEADS = 8
    mask_former.DIM_FEEDFORWARD = 2048
    # Predictions made, as in Mask2Former: the learnable queries' own and one a layer, so 10 means 9 layers.
    mask_former.DEC_LAYERS = 10
    # Upper bound on the objects found in a video.
    mask_former.NUM_OBJECT_QUERIES = 100
    # True: a 1x1 convolution per feature level also where the channels already agree.
    mask_former.ENFORCE_INPUT_PROJ = False
    # A name in AUDIO_QUERY_REGISTRY: "mean" adds the mean audio feature, projected, to every query;
    # "localize" (AVISM), "centric" (ACVIS) and "sources" (H2S) enter frame by frame; "": none. True and False
    # are still read, as "mean" and "".
    mask_former.AUDIO_QUERY = "mean"
    # A name in MASK_HEAD_REGISTRY: "residual" (the paper's Eq. (1)) or "dot" (Mask2Former).
    mask_former.MASK_HEAD = "residual"
    # True: masks are closed in frames that do not sound like their query (avis/modeling/sounding_gate.py).
    mask_former.SOUNDING_GATE = False
    # False: positions tell the place in the frame alone, not the frame.
    mask_former.TEMPORAL_POSITION = True
    # Frames are padded (bottom, right) to a multiple of this.
    mask_former.SIZE_DIVISIBILITY = 32

    cfg.MODEL.LOSSES = CfgNode()
    # Names in LOSS_REGISTRY, summed in this order: "prediction", or of a FrameClipDecoder "frame_prediction",
    # "clip_prediction", "similarity" (after these two), "count".
    cfg.MODEL.LOSSES.NAMES = ["prediction"]
    cfg.MODEL.LOSSES.SIMILARITY_WEIGHT = 1.0
    cfg.MODEL.LOSSES.COUNT_WEIGHT = 1.0
    # Losses: every decoder layer supervised; weight of the no-object class; weights of the three losses.
    mask_former.DEEP_SUPERVISION = True
    mask_former.NO_OBJECT_WEIGHT = 0.1
    mask_former.CLASS_WEIGHT = 2.0
    mask_former.MASK_WEIGHT = 5.0
    mask_former.DICE_WEIGHT = 5.0
    # Points per mask for matching and losses; candidates per kept point; share chosen by uncertainty.
    mask_former.TRAIN_NUM_POINTS = 12544
    mask_former.OVERSAMPLE_RATIO = 3.0
    mask_former.IMPORTANCE_SAMPLE_RATIO = 0.75

    mask_former.TEST = CfgNode()
    # Tracks kept per video, the best of all (query, class) pairs.
    mask_former.TEST.TOPK = 10
    # Predicted videos have the tracks that score more, and HOTA and FSLA are of these. AP ranks all TOPK.
    mask_former.TEST.SCORE_THRESHOLD = 0.5
    # Tracks that do not score more are dropped before everything, AP too.
    mask_former.TEST.MIN_SCORE = 0.0
    # True: a score is multiplied by the mean probability inside the track's masks.
    mask_former.TEST.MASK_QUALITY = False
    # Frames that pass the backbone and the pixel decoder, or become masks, at once; 0: chosen by frame size.
    mask_former.TEST.CHUNK_SIZE = 0
    # Where the features of a whole video lie: "device" (fastest, all frames at once), "host" (memory), "file"
    # (an unlinked file in TMPDIR: memory does not grow with the video); "auto": chosen by their size.
    mask_former.TEST.FEATURE_STORE = "auto"
    # Frames of the windows through which videos pass as streams do, and what they share; 0: whole videos.
    mask_former.TEST.ONLINE = CfgNode()
    mask_former.TEST.ONLINE.WINDOW = 0
    mask_former.TEST.ONLINE.OVERLAP = 0
    # Windows are linked by queries (this share of the similarity) and masks; less similar ones begin tracks.
    mask_former.TEST.ONLINE.QUERY_WEIGHT = 0.5
    mask_former.TEST.ONLINE.MIN_SIMILARITY = 0.5
    # Frames for which a track that is not found again is remembered.
    mask_former.TEST.ONLINE.PATIENCE = 30

    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME = "MaskFormerHead"
    head.NUM_CLASSES = 26
    head.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    head.CONVS_DIM = 256
    head.MASK_DIM = 256
    head.NORM = "GN"
    # True: per-pixel embeddings tell their place, by a sine embedding. Mask2Former's do not, but come from
    # pretrained backbones, which know it; from scratch, a query else comes to stand for classes, not objects.
    head.POSITION_IN_MASK_FEATURES = False
    # A name in SEM_SEG_HEADS_REGISTRY.
    head.PIXEL_DECODER_NAME = "MSDeformAttnPixelDecoder"
    # Deformable encoder: layers, levels, sampling points per head and level, heads, feed-forward width.
    head.TRANSFORMER_ENC_LAYERS = 6
    head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES = ["res3", "res4", "res5"]
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS = 4
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS = 8
    head.DEFORMABLE_TRANSFORMER_ENCODER_DIM_FEEDFORWARD = 1024
    # True: where the model computes in a lower precision, so does the encoder. Mask2Former's is in float32.
    head.ENCODER_AMP = False


def _add_clip_decoder_config(cfg: CfgNode) -> None:
    # Of the decoder "FrameClipDecoder", which joins the frame queries of a video.
    cfg.MODEL.CLIP_DECODER = clip_decoder = CfgNode()
    # Upper bound on the objects found in a video.
    clip_decoder.NUM_QUERIES = 100
    # Layers among the frame queries, and in the temporal fusion; layers of the clip queries.
    clip_decoder.ENC_LAYERS = 6
    clip_decoder.DEC_LAYERS = 3
    clip_decoder.DIM_FEEDFORWARD = 2048
    # Frames whose queries attend to each other.
    clip_decoder.WINDOW = 6
    # True: every other layer shifts the windows also in training, not only on whole videos.
    clip_decoder.SHIFT_IN_TRAINING = False
    # Last layers of the frame decoder whose queries are joined in training; the last one is on whole videos.
    clip_decoder.FRAME_LAYERS = 3

    cfg.MODEL.TEMPORAL_FUSION = CfgNode()
    # A name in TEMPORAL_FUSION_REGISTRY: how sound joins the frame queries; "window_attention" (AVISM),
    # "state_space" (H2S); "": it does not.
    cfg.MODEL.TEMPORAL_FUSION.NAME = ""

    # Attention to clusters of pixels, of the audio query "sources".
    cfg.MODEL.CLUSTERED_ATTENTION = clustered = CfgNode()
    # Clusters of queries and of pixels; the most rounds of k-means.
    clustered.CLUSTERS = 8
    clustered.ITERATIONS = 50
    # Share of the attention that the chosen clusters may have, by level from coarse to fine.
    clustered.TOP_P = [0.7, 0.8, 0.9]
    # Where k-means starts: "farthest" points, the same in every run, or "random" (k-means++, as released).
    clustered.START = "farthest"
    # True: rows of few pixels are filled with copies of their first one, as in H2S's published weights.
    clustered.RELEASED_PADDING = True


def _add_input_config(cfg: CfgNode) -> None:
    # Frames of a training clip, drawn within ±SAMPLING_FRAME_RANGE of a reference frame.
    cfg.INPUT.SAMPLING_FRAME_NUM = 2
    cfg.INPUT.SAMPLING_FRAME_RANGE = 20
    # True: the clip's frames are not put back into temporal order.
    cfg.INPUT.SAMPLING_FRAME_SHUFFLE = False
    # True: a clip's reference frame is one in which an object sounds. False: the model also learns silence.
    cfg.INPUT.FILTER_EMPTY_CLIPS = False
    # Of a training clip's crop (INPUT.CROP.ENABLED, TYPE, SIZE): its probability, and to what the short side
    # is resized before it, one of MIN_SIZE if any are given, with a long side up to MAX_SIZE. TYPE "moving"
    # (VITA, AVISM): a side has SIZE[0] to SIZE[1] pixels, and the crop moves along a line through the clip.
    cfg.INPUT.CROP.PROB = 1.0
    cfg.INPUT.CROP.MIN_SIZE = ()
    cfg.INPUT.CROP.MAX_SIZE = 1333
    # Colour changes of a training clip: any of "brightness", "contrast", "saturation", "rotation".
    cfg.INPUT.AUGMENTATIONS = []
    # Frames per second of the data set: frame t is heard over [t / FPS, t / FPS + 0.96 s).
    cfg.INPUT.FPS = 1.0

    cfg.INPUT.AUDIO = CfgNode()
    # "features" (FEATURES_DIR), "waveform" (WAVAudios/*.wav), or "auto": features if all data sets of the run
    # have them and they come from the model's own frozen audio backbone, the waveform otherwise.
    cfg.INPUT.AUDIO.SOURCE = "auto"
    # The folder of features beside JPEGImages: <video>.npy, or of separated sources <video>/source_01.npy ….
    cfg.INPUT.AUDIO.FEATURES_DIR = "FEATAudios"
    # Separated sources of each video, S. More than 1 are taken as features only.
    cfg.INPUT.AUDIO.NUM_SOURCES = 1
    # What the model hears in evaluation: "own", "silent" (nothing), "shuffled" (another video's sound).
    cfg.INPUT.AUDIO.AT_TEST = "own"


def _add_solver_config(cfg: CfgNode) -> None:
    # How much of an epoch each of TRAIN is, in any unit; (): as its videos are.
    cfg.DATASETS.RATIOS = ()
    # Of objects of TRAIN whose categories the model's classes lack: "raise": an error; "drop": they are left
    # out, and count as background.
    cfg.DATASETS.UNKNOWN_CATEGORIES = "raise"
    # "skip": where a frame, mask or sound cannot be read, training takes another clip; "raise": it ends.
    cfg.DATALOADER.ON_ERROR = "raise"
    # Clips that training may skip, in all processes, before it ends nevertheless.
    cfg.DATALOADER.MAX_SKIPPED = 100
    # Training skips iterations whose loss or gradient is not finite, and ends at so many in a row.
    cfg.SOLVER.MAX_NONFINITE = 5
    # D of the weights' exponential moving average, a = D a + (1 - D) w after each step, such as 0.999.
    # Evaluation takes it, and checkpoints hold it beside the weights; 0: there is none.
    cfg.SOLVER.EMA_DECAY = 0.0
    # Passes into which a process's share of IMS_PER_BATCH is split: less memory, more time, the same
    # gradients where no batch norm learns.
    cfg.SOLVER.ACCUMULATE = 1
    # True: each process keeps a piece of every parameter, gradient and optimizer state (PyTorch's FSDP2), for
    # models whose copies leave too little memory. The numbers are those of copies.
    cfg.SOLVER.FSDP = False
    # "ADAMW" or "SGD".
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
    # The backbone's learning rate is multiplied by it once more for each layer from its top down; 1: off.
    cfg.SOLVER.LAYER_DECAY = 1.0
    # Weight decay of nn.Embedding weights and of relative position biases.
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0
    # "float16" or "bfloat16": the lower precision of SOLVER.AMP.ENABLED.
    cfg.SOLVER.AMP.PRECISION = "bfloat16"
    # A checkpoint also whenever so many minutes have passed since the last one; 0: by iterations alone.
    cfg.SOLVER.CHECKPOINT_MINUTES = 0.0
    # Checkpoints within the run that are kept, the last ones; 0: all. 2 or more leave one if one is damaged.
    cfg.SOLVER.CHECKPOINT_KEEP = 0
    # True: those within the run are folders of parts, which all processes write at once, each its own.
    cfg.SOLVER.CHECKPOINT_SHARDED = False
    # What evaluation scores, any of "avis" (instances), "avs" (maps of what sounds: J, F; classes do not
    # matter) and "avss" (maps of its classes: mIoU, mF).
    cfg.TEST.TASKS = ["avis"]
    # The metric whose highest value makes model_best.pth: "avis/AP" or, of several test sets, "val/avis/AP".
    # Choose it on a validation set, and with TEST.EVAL_PERIOD. "": there is no such file.
    cfg.TEST.BEST_METRIC = ""
    # True: an evaluation also has the training's losses on clips of the test sets, as val_loss/….
    cfg.TEST.LOSS = False
    # True: in training, products of float32 may take TF32 (NVIDIA GPUs since Ampere): faster, 10 bits. False
    # leaves torch's settings: exact matrix products, and convolutions in TF32.
    cfg.SOLVER.TF32 = False
    # True: predicts in SOLVER.AMP.PRECISION, as SOLVER.AMP.ENABLED trains; scores and masks change a little.
    cfg.TEST.AMP = False
