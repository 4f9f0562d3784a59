"""Fixtures that several parts share, and one thread for each process that tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: also for the processes that tests start

import torch

torch.set_num_threads(1)
