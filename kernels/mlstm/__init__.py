"""Matrix LSTM (mLSTM), chunkwise-parallel forward and backward."""

from .op import mlstm
from .reference import mlstm_quadratic, mlstm_recurrent

__all__ = ['mlstm', 'mlstm_quadratic', 'mlstm_recurrent']
