"""Torch modules: architecture only. Training them is the estimators' business."""
