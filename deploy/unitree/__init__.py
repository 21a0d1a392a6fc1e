"""Unitree robots over DDS: messages, transport, the robot interface. All but messages and codec need cyclonedds (extra ``unitree``)."""
