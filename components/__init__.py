"""The steps as processes: each folder is a component of KFP and a command line around one function of the library."""

from sharpen.hardware.allocator import limit_heaps

# here, because it has to come before torch, whose import starts threads
limit_heaps()
