"""Matrix LSTM (mLSTM), chunkwise-parallel forward and backward."""

from .op import chunkwise_flops, mlstm
from .reference import mlstm_quadratic, mlstm_recurrent

__all__ = ['chunkwise_flops', 'mlstm', 'mlstm_quadratic', 'mlstm_recurrent']
