"""Matrix LSTM (mLSTM), chunkwise-parallel forward and backward."""

from .function import mlstm
from .op import chunkwise_flops
from .reference import mlstm_quadratic, mlstm_recurrent

__all__ = ['chunkwise_flops', 'mlstm', 'mlstm_quadratic', 'mlstm_recurrent']
