"""Steering: directions in the residual stream, found from contrast pairs and added while the model answers.

Rimsky et al. 2023, "Steering Llama 2 via Contrastive Activation Addition": the difference of means; Zou et
al. 2023, "Representation Engineering": the first principal component. The instant layer: it acts at once,
where weights need training.
"""
