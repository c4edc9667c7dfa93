"""Mathematics: arrays in, evidence out. No event, no broker, no clock, no input or output.

* `transform`, `season`, `bank`, `shadow`, `own_past`, `pool`: did a series leave its own past, or that of its kind?
  `past_rows`: many series at once.
* `online_past`, with `online_row`, `online_step`, `online_transform`: the same own past, learned while samples come.
* `counts`, `concurrent`, `order`: is the new worse than the old that runs beside it?
* `silence`: does something stay away that was regular?
* `river_detector`: any detector of river, judged by the same own past as every other number.
* `two_by_two`: does one class of changes do more harm than the rest? `footprint`: does it leave other footprints?
* `combine`: what many numbers, looks and changes say together.
* `score`: one series without a change, for comparison with streaming detectors.
"""
