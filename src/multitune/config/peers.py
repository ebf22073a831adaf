"""Keys of Axolotl, LLaMA-Factory and TRL: what each is in a run file, or what to do where it has no counterpart."""

from collections.abc import Mapping

QUANTIZATION = "`quantization`: nf4 (4 bits, with double quantization, as QLoRA) or int8, for the frozen base"
NO_QUANTIZATION = "a frozen base may be held in 4 or 8 bits (`quantization: nf4`, or int8). Leave it out"
ONE_PROCESS = "a run is one process on one device. Leave it out"
KERNELS = "attention and kernels are chosen by themselves. Leave it out"
OTHER_TRAINING = "a run is supervised fine-tuning. Keep your trainer for this"
LORA_VARIANT = "adapters are plain LoRA. Leave it out"
OPTIMIZER = "the optimizer is AdamW with one schedule of the learning rate. Leave it out"
DROPOUT = "adapters have no dropout; validation chooses the step that is kept. Leave it out"
STEERING = "logging, saving and progress are always on"
DATA_WORK = "rows are read, cached and deduplicated by themselves. Leave it out"
UPLOAD = "a run stays on this machine. Upload what `multitune export` writes with `hf upload`"
TEXT_ALONE = "prompts are text alone. Keep your trainer for images, video and audio"
REMOTE_CODE = "code that comes with a base is never run. Take a base that transformers knows"
OWN_TEMPLATE = "the chat template is the base's own. Put your own text into `tasks.prompt` or `system`"
TOKENS = "tokenizer and vocabulary are the base's own. Leave it out"
BATCH = "`train.batch_size`: rows of a step, micro-batch × accumulation; `train.pack_tokens` sets the memory"
MODEL = "`base`: a hub id, a folder, a .gguf file or an alias"
DATA = "`tasks`: one entry per data set, with name, data, kind, prompt and answer"
COLUMNS = "`tasks.prompt` and `tasks.answer`: Jinja over the columns of a row"
HELD_OUT = "`tasks.split.validation`: the share held out to choose by; `tasks.split.test` is held out to report"
VALIDATION = "`train.validate_every`: steps between validations"
TRACK = "`track`: a list of tensorboard, wandb, mlflow, trackio; what they need to know comes from their environment"
RANK, ALPHA = "`lora.rank`", "`lora.alpha`"
TARGETS = "`lora.targets`: all, attention, or names of layers"
LENGTH = "`train.max_length`: rows that are longer are left out and counted"
EPOCHS = "`train.epochs`: passes over the rows"
ADAPTER = "`method`: lora or full; `lora` is the shape of the adapters, `adapters` says which of them to train"
SYSTEM = "`system`: one for all tasks"
PRECISION = "`dtype`: auto, float32 or bfloat16"

# meaning -> the keys of any of the tools that have it
_GROUPS: Mapping[str, str] = {
    MODEL: "base_model base_model_config model_name_or_path model_name model_id model model_path",
    DATA: "datasets dataset dataset_name dataset_dir dataset_config train_file train_files data_path "
    "train_dataset dataset_train_split",
    "`tasks.data`: a file, a folder, a glob or a hub id": "path file file_name hf_hub_url data_files data_dir",
    "`tasks.kind` for what an answer is, `tasks.prompt` and `tasks.answer` for how a row reads": "type formatting",
    "`tasks.data`: {train: …, validation: …}": "test_datasets eval_dataset eval_datasets val_dataset validation_file",
    "`tasks.data.test`": "dataset_test_split test_file",
    COLUMNS: "columns field_instruction field_input field_output field_messages field_system "
    "message_property_mappings dataset_text_field input_output train_on_inputs train_on_prompt completion_only_loss "
    "assistant_only_loss roles_to_train mask_history prompt_style",
    "`tasks.limit`": "max_samples max_train_samples num_samples",
    HELD_OUT: "val_set_size val_size test_split_size validation_split",
    RANK: "lora_r lora_rank r",
    ALPHA: "lora_alpha",
    TARGETS: "lora_target_modules lora_target_linear lora_target target_modules",
    DROPOUT: "lora_dropout dropout",
    ADAPTER: "adapter finetuning_type use_peft peft",
    LENGTH: "sequence_len cutoff_len max_seq_length max_seq_len",
    "`train.pack_tokens`: rows are always packed, and share what they begin with": "sample_packing packing "
    "neat_packing eval_sample_packing eval_packing pad_to_sequence_len packing_strategy padding_free group_by_length "
    "sample_packing_group_size sample_packing_bin_size",
    "`train.learning_rate`": "lr",
    EPOCHS: "num_epochs num_train_epochs",
    BATCH: "micro_batch_size gradient_accumulation_steps per_device_train_batch_size auto_find_batch_size",
    "`evaluate.batch_size`": "eval_batch_size per_device_eval_batch_size",
    "`train.warmup`: a share of the steps": "warmup_ratio warmup_steps",
    VALIDATION: "eval_steps evals_per_epoch eval_strategy evaluation_strategy do_eval",
    "`train.checkpoint_every`: steps between checkpoints": "save_steps saves_per_epoch save_strategy",
    "`train.patience`": "early_stopping_patience early_stopping_steps",
    "`train.keep`": "load_best_model_at_end metric_for_best_model greater_is_better",
    "`train.gradient_checkpointing`": "disable_gradient_checkpointing gradient_checkpointing_kwargs "
    "activation_offloading",
    "`mixture`: schedule, shares, max_repeats": "mix_strategy interleave_probs mixture_ratio dataset_weights",
    "`multitune train FILE --resume`": "resume_from_checkpoint auto_resume_from_checkpoints",
    "`multitune train FILE --overwrite`": "overwrite_output_dir",
    "`output`: the folder that holds the run's folder": "output_dir",
    "`seed`: rows are drawn by it too": "data_seed",
    PRECISION: "bf16 fp16 float16 bfloat16 tf32 torch_dtype pure_bf16 mixed_precision",
    SYSTEM: "default_system_message default_system system_prompt",
    "`name`": "run_name wandb_name",
    TRACK: "report_to wandb_project wandb_entity wandb_watch wandb_log_model wandb_run_id use_wandb use_tensorboard "
    "mlflow_tracking_uri mlflow_experiment_name use_mlflow use_swanlab",
    "`adapters.stack_on`: an adapter's folder that a new one learns on top of": "lora_model_dir adapter_name_or_path",
    QUANTIZATION: "qlora load_in_4bit load_in_8bit quantization_bit",
    NO_QUANTIZATION: "quantization_method quantization_type "
    "double_quantization bnb_4bit_quant_type bnb_4bit_compute_dtype bnb_config_kwargs use_bnb_nested_quant gptq qat "
    "model_quantization_config model_quantization_config_kwargs quantize_moe_experts",
    ONE_PROCESS: "deepspeed deepcompile fsdp fsdp_config fsdp_version ddp_timeout ddp_find_unused_parameters "
    "device_map num_processes num_machines accelerate_config context_parallel_size sequence_parallel_degree "
    "tensor_parallel_size local_rank max_memory dp_shard_size dp_replicate_size expert_parallel_size world_size "
    "low_cpu_mem_usage",
    KERNELS: "flash_attention flash_attn attn_implementation sdp_attention xformers_attention flex_attention "
    "enable_liger_kernel use_liger_kernel use_liger use_unsloth use_unsloth_gc torch_compile plugins lora_mlp_kernel "
    "lora_qkv_kernel lora_o_kernel liger_rope liger_rms_norm liger_glu_activation "
    "liger_layer_norm liger_fused_linear_cross_entropy liger_rms_norm_gated use_kernels cut_cross_entropy "
    "use_scattermoe experts_implementation flash_attn_fuse_mlp fused_attn_kernel flex_attn_compile_kwargs",
    OTHER_TRAINING: "rl reward_model ref_model pref_beta pref_loss dpo_beta trl vllm reward_funcs stage "
    "pretraining_dataset freeze_trainable_layers "
    "unfrozen_parameters",
    LORA_VARIANT: "use_dora use_rslora peft_use_dora peft_use_rslora pissa_init loraplus_lr_ratio loftq_config "
    "lora_fan_in_fan_out lora_modules_to_save additional_target modules_to_save relora init_lora_weights "
    "lora_task_type lora_target_parameters",
    OPTIMIZER: "optimizer optim optim_args lr_scheduler lr_scheduler_type lr_scheduler_kwargs cosine_min_lr_ratio "
    "adam_beta1 adam_beta2 adam_epsilon use_galore use_badam use_apollo use_muon neftune_noise_alpha label_smoothing",
    STEERING: "logging_steps logging_strategy save_total_limit save_only_model save_safetensors plot_loss do_train "
    "debug strict log_level disable_tqdm loss_watchdog_threshold "
    "loss_watchdog_patience include_num_input_tokens_seen",
    DATA_WORK: "dataset_prepared_path dataset_processes dataset_num_proc preprocessing_num_workers overwrite_cache "
    "dataloader_num_workers dataloader_pin_memory shuffle_dataset shuffle_merged_datasets dataset_exact_deduplication "
    "streaming tokenized_path remove_unused_columns skip_prepare_dataset",
    UPLOAD: "hub_model_id hub_strategy push_to_hub push_dataset_to_hub",
    TEXT_ALONE: "processor_type freeze_vision_tower freeze_multi_modal_projector freeze_mm_modules image_max_pixels "
    "video_max_pixels video_fps video_maxlen media_dir",
    REMOTE_CODE: "trust_remote_code",
    OWN_TEMPLATE: "chat_template chat_template_jinja chat_template_path template eos_token eot_tokens",
    TOKENS: "model_type tokenizer_type tokenizer_config tokenizer_use_fast use_fast_tokenizer special_tokens tokens "
    "is_llama_derived_model is_mistral_derived_model is_falcon_derived_model resize_vocab pad_token",
}

COUNTERPARTS: Mapping[str, str] = {key: meaning for meaning, keys in _GROUPS.items() for key in keys.split()}

# Keys that only one kind of tool has: a file that holds some of them is a config of that tool.
_SIGNS = {
    "Axolotl": {"base_model", "datasets", "micro_batch_size", "sequence_len", "num_epochs", "val_set_size"},
    "LLaMA-Factory": {"dataset", "dataset_dir", "finetuning_type", "cutoff_len", "template", "stage", "lora_target"},
    "TRL": {"dataset_name", "use_peft", "dataset_text_field", "completion_only_loss", "assistant_only_loss"},
}


def tool_of(keys: Mapping[str, object]) -> str | None:
    """Which of the tools a config is of: the one that shares most keys with it; None where none does."""
    found = {tool: len(signs & keys.keys()) for tool, signs in _SIGNS.items()}
    best = max(found, key=lambda tool: found[tool])
    return best if found[best] else None
