"""What every config needs: mmvssm's registrations, and a watch that names the first layer with a NaN."""

custom_imports = dict(imports=['mmvssm.openmmlab'], allow_failed_imports=False)
custom_hooks = [dict(type='mmvssm.NaNWatchHook')]
