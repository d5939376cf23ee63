"""LSTM: the recurrent network whose cells decide what to keep, what to forget and what to say; `rnn` with other defaults.

Weight-dropped, with one mask of dropout a row, as in AWD-LSTM: Merity et al. 2018, https://arxiv.org/abs/1708.02182.
"""

from genctl.families.autoregressive.rnn import RNN
from genctl.nets.recurrent import Cell


class LSTM(RNN):
    """rnn with `cell: lstm`."""

    class Config(RNN.Config):
        cell: Cell = "lstm"
        """rnn: a tanh of a sum; gru and lstm: gates decide what is kept."""
