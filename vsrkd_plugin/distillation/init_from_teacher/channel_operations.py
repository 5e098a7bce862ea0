"""Operations of torch by what they do to channels; names are those of `torch.ops.aten`."""

MOVES = {
    *('view', 'reshape', '_unsafe_view', '_reshape_alias', 'expand', 'permute', 'transpose', 't', 'slice', 'select'),
    *('narrow', 'split', 'split_with_sizes', 'unsafe_split', 'chunk', 'unbind', 'squeeze', 'unsqueeze', 'cat'),
    *('stack', 'roll', 'flip', 'clone', 'contiguous', 'alias', 'detach', 'lift_fresh', 'as_strided', 'index'),
    *('index_select', 'gather', 'repeat', 'reflection_pad2d', 'replication_pad2d', 'pixel_shuffle', 'pixel_unshuffle'),
    *('channel_shuffle', 'native_channel_shuffle', 'im2col', 'unfold', 'tril', 'triu', 'diagonal', 'movedim', 'rot90'),
    *('slice_scatter', 'select_scatter', 'repeat_interleave', 'embedding', 'flatten', 'unflatten', 'swapaxes'),
}
SPATIAL = {  # every channel for itself; positions in space change
    *('upsample_nearest2d', '_upsample_nearest_exact2d', 'upsample_bilinear2d', 'upsample_bicubic2d'),
    *('_upsample_bilinear2d_aa', '_upsample_bicubic2d_aa', 'avg_pool2d', '_adaptive_avg_pool2d', 'max_pool2d'),
    *('adaptive_avg_pool2d', 'max_pool2d_with_indices', 'adaptive_max_pool2d', 'grid_sampler_2d'),
}
ALONG = {'_softmax', '_log_softmax', 'softmax', 'native_dropout', '_to_copy', 'cumsum', 'hardswish', 'logcumsumexp'}
REDUCTIONS = {
    *('mean', 'sum', 'amax', 'amin', 'var', 'std', 'var_mean', 'std_mean', 'linalg_vector_norm', 'norm', 'max', 'min'),
    *('prod', 'logsumexp', 'median'),
}
NORMS = {'native_batch_norm', '_native_batch_norm_legit_no_training', '_native_batch_norm_legit', 'cudnn_batch_norm'}
ATTENTIONS = {
    *('_scaled_dot_product_flash_attention_for_cpu', '_scaled_dot_product_flash_attention'),
    *('_scaled_dot_product_efficient_attention', '_scaled_dot_product_cudnn_attention'),
}
UNLABELLED = {  # what is made anew, and orders of values, belong to no channel
    *('zeros_like', 'ones_like', 'empty_like', 'full_like', 'rand_like', 'randn_like', 'new_zeros', 'new_ones'),
    *('new_empty', 'new_full', 'new_empty_strided', 'sort', 'argsort', 'topk', 'bernoulli'),
}
