"""Predictions beside the champion, retired score sets, jobs that are open once, and who promoted or rolled back."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("personalization", "0015_event_months"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ExposurePrediction",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("heads", models.JSONField(default=list, verbose_name="effects")),
            ],
            options={
                "verbose_name": "exposure prediction",
                "verbose_name_plural": "exposure predictions",
            },
        ),
        migrations.AddField(
            model_name="job",
            name="alone",
            field=models.CharField(
                blank=True,
                help_text="Of jobs with the same word here, one is open at a time.",
                max_length=60,
                verbose_name="alone",
            ),
        ),
        migrations.AddField(
            model_name="modelversion",
            name="shadow_since",
            field=models.DateTimeField(
                blank=True,
                help_text="From then on it predicts what is shown, without being served.",
                null=True,
                verbose_name="in shadow since",
            ),
        ),
        migrations.AddField(
            model_name="scoreset",
            name="retired_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="retired"),
        ),
        migrations.AlterField(
            model_name="auditentry",
            name="action",
            field=models.CharField(
                choices=[
                    ("viewed", "shown"),
                    ("exported", "given out"),
                    ("erased", "erased"),
                    ("unmerged", "taken apart"),
                    ("rotated", "keys changed"),
                    ("promoted", "promoted"),
                    ("rollback", "rolled back"),
                ],
                max_length=10,
                verbose_name="what",
            ),
        ),
        migrations.AlterField(
            model_name="job",
            name="kind",
            field=models.CharField(
                choices=[
                    ("train", "train"),
                    ("score", "score"),
                    ("forecast", "forecast"),
                    ("codes", "generate codes"),
                    ("export", "export codes"),
                    ("summary", "summarise shoppers"),
                    ("triggers", "evaluate triggers"),
                    ("shadow", "score in shadow"),
                ],
                max_length=10,
                verbose_name="kind",
            ),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.UniqueConstraint(
                condition=models.Q(models.Q(("alone", ""), _negated=True), ("state__in", ["queued", "running"])),
                fields=("alone",),
                name="pz_job_alone",
            ),
        ),
        migrations.AddField(
            model_name="exposureprediction",
            name="exposure",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="predictions",
                to="personalization.exposure",
                verbose_name="exposure",
            ),
        ),
        migrations.AddField(
            model_name="exposureprediction",
            name="version",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="predictions",
                to="personalization.modelversion",
                verbose_name="model version",
            ),
        ),
        migrations.AddConstraint(
            model_name="exposureprediction",
            constraint=models.UniqueConstraint(fields=("version", "exposure"), name="pz_prediction_once"),
        ),
    ]
