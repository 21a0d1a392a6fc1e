"""Hardware in the loop: simulated robots that speak the robot's interface. The only part of deploy that may import sim."""
